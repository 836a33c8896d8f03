"""A connection to the upstream: what it carries, what becomes of it, and what its receiver and the pool are told."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.core.causes import Cause
from sidecar.proxy.upstream.connection import UPSTREAM_HOST, UpstreamConnection
from sidecar.proxy.upstream.states import TRANSITIONS, State
from tests.support.answers import Asked, Pipe, Pool

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nhel"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Watched(UpstreamConnection):
    """Fails where a state follows that cannot."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state" and hasattr(self, "state"):
            assert value in TRANSITIONS[self.state], f"{self.state} to {value}"
        super().__setattr__(name, value)


class World:
    """One connection, its pool and its transport."""

    def __init__(self, host: bytes = b"", loop: Any = None) -> None:
        self.pool = Pool(host, loop)
        self.pipe = Pipe()
        self.connection = Watched(self.pool, 0)
        self.connection.connection_made(self.pipe)

    def ask(self, request: bytes = REQUEST, **what: Any) -> Asked:
        """Send a request."""
        asked = Asked(**what)
        self.connection.send(asked, request, self.pool.now)
        return asked

    def come(self, data: bytes) -> State:
        """Bytes come; what the connection does then."""
        self.connection.data_received(data)
        return self.connection.state

    def lose(self, exc: Exception | None = None) -> None:
        """The connection is gone."""
        self.connection.connection_lost(exc)

    def pass_time(self, seconds: float) -> None:
        """Look at the connection so many seconds later."""
        self.pool.now += seconds
        self.connection.check(self.pool.now)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.pipe.release()


def test_the_states_of_a_connection_by_what_comes(world: World) -> None:
    assert UpstreamConnection(world.pool, 0).state is State.CONNECTING
    assert world.connection.state is State.IDLE
    asked = world.ask()
    assert world.connection.state is State.ASKED
    assert world.come(PLAIN[:20]) is State.HEAD
    assert world.come(PLAIN[20:-1]) is State.BODY
    assert world.come(PLAIN[-1:]) is State.IDLE
    assert asked.told == ["connected", "head 200 OK", "complete"]
    world.lose()
    assert world.connection.state is State.CLOSED
    assert world.pool.fate == ["release", "connection_closed"]


def test_one_exchange_follows_the_other(world: World) -> None:
    for number in range(4):
        asked = world.ask()
        assert world.connection.carrying
        assert not world.connection.usable
        assert world.come(PLAIN) is State.IDLE
        assert asked.body == b"hello"
        assert asked.told[-1] == ("whole" if number else "complete")  # the shape of its head is known by then
        assert world.connection.usable
        assert not world.connection.carrying
    assert world.pool.fate == ["release"] * 4


def test_a_connection_with_something_unread_is_not_used(world: World) -> None:
    assert world.connection.usable_now()
    world.pipe.peer.send(b"x")
    assert not world.connection.usable_now()
    assert world.connection.usable


def test_the_host_of_the_upstream_takes_its_place() -> None:
    world = World(b"api.example")
    world.ask(b"GET / HTTP/1.1\r\nHost: " + UPSTREAM_HOST + b"\r\n\r\n")
    assert world.pipe.written == b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n"
    world.pipe.release()


def test_a_connection_that_is_not_kept_is_closed(world: World) -> None:
    asked = world.ask()
    assert world.come(PLAIN.replace(b"1.1", b"1.0")) is State.CLOSING
    assert asked.told[-1] == "complete"
    assert (world.pool.fate, world.pipe.ended) == (["answered", "connection_closing"], "closed")


def test_a_connection_that_has_a_part_of_a_request_is_cut(world: World) -> None:
    world.ask(sending=True, reusable=False)
    world.come(PLAIN)
    assert (world.pool.fate, world.pipe.ended) == (["answered", "connection_closing"], "aborted")


def test_a_connection_goes_back_to_the_pool_only_when_it_is_read_from(world: World) -> None:
    world.ask()
    world.connection.pause_reading()
    assert not world.pipe.reading
    world.come(PLAIN)
    assert world.pipe.reading
    assert world.connection.usable


@pytest.mark.parametrize(
    ("data", "fate"),
    [(b"x", ["unsolicited", "connection_closing"]), (b"HTTP/1.1 408 Late\r\n\r\n", ["connection_closing"])],
)
def test_bytes_that_nobody_asked_for_end_the_connection(world: World, data: bytes, fate: list[str]) -> None:
    assert world.come(data) is State.CLOSING
    assert (world.pool.fate, world.pipe.ended) == (fate, "aborted")


def test_bytes_behind_an_answer_end_it_and_the_connection(world: World) -> None:
    asked = world.ask()
    world.come(PLAIN + PLAIN)
    assert asked.fault is not None
    assert world.pool.fate == ["unsolicited", "connection_closing", "failed"]
    assert world.connection.state is State.CLOSING


def test_a_body_without_a_length_is_whole_at_the_end_of_the_stream(world: World) -> None:
    asked = world.ask()
    assert world.come(ENDLESS) is State.BODY
    assert not world.connection.eof_received()
    assert asked.told[-1] == "complete"
    assert (world.pool.fate, world.pipe.ended) == (["answered", "connection_closing"], "closed")


@pytest.mark.parametrize(
    ("data", "cause"), [(b"", Cause.CLOSED_WITHOUT_ANSWER), (PLAIN[:9], Cause.CUT_SHORT), (PLAIN[:-1], Cause.CUT_SHORT)]
)
def test_an_end_of_the_stream_elsewhere_ends_no_answer_properly(world: World, data: bytes, cause: Cause) -> None:
    asked = world.ask()
    if data:
        world.come(data)
    world.connection.eof_received()
    assert world.pipe.ended == "aborted"
    assert "failure" not in asked.told
    world.lose()
    assert asked.fault is not None
    assert asked.fault.cause is cause
    assert world.pool.fate == ["connection_closing", "connection_closed", "failed"]


def test_an_idle_connection_closes_with_the_stream(world: World) -> None:
    world.connection.eof_received()
    assert (world.connection.state, world.pipe.ended) == (State.CLOSING, "closed")


@pytest.mark.parametrize(
    ("reused", "resendable", "data", "again"),
    [
        (True, True, b"", True),
        (False, True, b"", False),
        (True, False, b"", False),
        (True, True, b"H", False),
    ],
)
def test_a_request_is_sent_again_only_when_that_does_nothing_twice(
    world: World, reused: bool, resendable: bool, data: bytes, again: bool
) -> None:
    world.connection.reused = reused
    asked = world.ask(resendable=resendable)
    if data:
        world.come(data)
    world.lose(ConnectionResetError())
    assert (asked.fault is None) is again
    assert world.pool.resent == ([REQUEST] if again else [])


def test_what_an_upstream_said_counts_though_our_writing_failed(world: World) -> None:
    asked = world.ask(sending=True, reusable=False)
    world.connection.write(b"a part of the body")
    world.pipe.peer.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
    world.pipe.peer.shutdown(socket.SHUT_WR)
    world.lose(BrokenPipeError())
    assert asked.told == ["connected", "head 413 Too Large", "stop sending", "complete"]
    assert asked.body == b"no"


def test_what_came_for_nobody_is_not_read_at_the_end(world: World) -> None:
    world.ask()
    world.connection.write(b"x")
    world.connection.abort()
    world.pipe.peer.send(PLAIN)
    world.lose(BrokenPipeError())
    assert "unsolicited" not in world.pool.fate


@pytest.mark.parametrize(
    ("data", "seconds", "what", "cause", "blamed"),
    [
        (b"", 10, {}, Cause.NO_ANSWER, True),
        (PLAIN[:9], 10, {}, Cause.NO_ANSWER, True),
        (PLAIN[:-1], 20, {}, Cause.STALLED, True),
        (b"", 10, {"sending": True, "expects_continue": True}, Cause.NO_ANSWER, False),
    ],
)
def test_an_upstream_that_is_silent_for_too_long_fails_the_exchange(
    world: World, data: bytes, seconds: float, what: dict[str, Any], cause: Cause, blamed: bool
) -> None:
    asked = world.ask(**what)
    if data:
        world.come(data)
    world.pass_time(seconds)
    assert asked.fault is None
    world.pass_time(0.1)
    assert asked.fault is not None
    assert asked.fault.cause is cause
    assert world.pool.fate == ["connection_closing", *(["failed"] if blamed else [])]
    assert world.pipe.ended == "aborted"


def test_the_upstreams_time_begins_after_the_clients_turn(world: World) -> None:
    asked = world.ask(sending=True)
    world.pass_time(100)
    asked.sending = False
    world.pass_time(10)
    assert asked.fault is None
    world.pass_time(0.1)
    assert asked.fault is not None


def test_an_idle_connection_is_not_blamed_for_its_silence(world: World) -> None:
    world.pass_time(1000)
    assert (world.pool.fate, world.connection.state) == ([], State.IDLE)


def test_after_a_switch_bytes_go_to_the_tunnel_and_nowhere_else(world: World) -> None:
    asked = world.ask(upgrade=b"chat", awaits_switch=True)
    assert world.come(SWITCH + b"one ") is State.TUNNEL
    world.come(b"two")
    assert asked.tunnel.bytes == b"one two"
    assert asked.told == ["connected", "switch"]
    assert world.connection.carrying
    world.pass_time(1000)
    assert world.pool.fate == ["answered"]
    assert world.connection.end_writing()
    assert world.pipe.ended == "eof"
    world.lose()
    assert asked.tunnel.finished
    assert world.pool.fate == ["answered", "connection_closed"]


def test_a_switch_too_early_is_refused_and_no_fault_of_the_upstream(world: World) -> None:
    asked = world.ask(upgrade=b"chat")
    world.come(SWITCH)
    assert asked.fault is not None
    assert asked.fault.cause is Cause.BAD_SWITCH
    assert world.pool.fate == ["connection_closing"]


def test_an_answer_that_nobody_wants_any_more_goes_nowhere(world: World) -> None:
    asked = world.ask()
    world.come(PLAIN[:-1])
    world.connection.abort()
    world.come(PLAIN[-1:])
    world.lose()
    assert asked.told == ["connected", "head 200 OK"]
    assert asked.body == b"hell"
    assert "failed" not in world.pool.fate


def test_writing_waits_until_the_upstream_takes_more() -> None:
    async def go() -> None:
        world = World(loop=asyncio.get_running_loop())
        world.ask()
        await world.connection.drain()  # at once
        world.connection.pause_writing()
        waiting = asyncio.get_running_loop().create_task(world.connection.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        world.connection.resume_writing()
        await asyncio.wait_for(waiting, 5)
        world.connection.pause_writing()
        waiting = asyncio.get_running_loop().create_task(world.connection.drain())
        world.lose()
        await asyncio.wait_for(waiting, 5)
        world.pipe.release()

    asyncio.run(go())


def test_a_state_that_cannot_follow_is_logged_and_ends_nothing() -> None:
    """A defect of ours costs a line of the log, never the worker."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        logged: list[str] = []
        loop.set_exception_handler(lambda _, context: logged.append(context["message"]))
        connection = UpstreamConnection(Pool(loop=loop), 0)
        connection._become(State.TUNNEL)
        assert logged == ["upstream connection: connecting to tunnel"]

    asyncio.run(go())
