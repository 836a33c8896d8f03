"""The pool against a real server: which connection carries a request, and which never does again."""

import asyncio
import fcntl
import struct
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.core.reasons import Reason
from sidecar.proxy.limits import PoolLimits, UpstreamTimeouts
from sidecar.proxy.ports import WholeResponse
from sidecar.proxy.upstream.connection import UpstreamConnection
from sidecar.proxy.upstream.pool import UpstreamPool
from tests.support.waiting import eventually

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Takes connections and answers only when it is told to."""

    def __init__(self) -> None:
        self.peers: list[asyncio.StreamWriter] = []
        self.asked: list[bytes] = []
        self.unsolicited: list[str] = []
        self.passed = 0.0  # seconds by which the pool's clock was put forward

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer)
        while data := await reader.read(65536):
            self.asked.append(data)
        writer.close()

    @asynccontextmanager
    async def pool(self, **limits: Any) -> AsyncIterator[UpstreamPool]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        pool = UpstreamPool(
            [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"],
            loop=asyncio.get_running_loop(),
            timeouts=UpstreamTimeouts(1, 1, 1),
            limits=PoolLimits(**{"max_connections": 10, "idle": 100.0, "max_age": 1000.0, **limits}),
            monotonic=lambda: time.monotonic() + self.passed,
            on_unasked=self.unsolicited.append,
        )
        try:
            yield pool
        finally:
            await pool.close()
            for peer in self.peers:
                peer.close()
            server.close()
            await server.wait_closed()


class Asker:
    """One request, and what came of it."""

    head_request = resendable = expects_continue = awaits_switch = sending = False
    wanted = True
    upgrade = b""

    def __init__(self) -> None:
        self.sent_at = 0.0
        self.connection: Any = None
        self.outcome: object = None
        self.fault: Fault | None = None

    def on_connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def stop_sending(self) -> None: ...

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        self.outcome = whole[0]

    def on_complete(self, now: float) -> None:
        self.outcome = 200

    def on_failure(self, fault: Fault) -> None:
        self.outcome, self.fault = fault.reason, fault

    def may_reuse(self) -> bool:
        return True


def ask(pool: UpstreamPool) -> Asker:
    asker = Asker()
    asker.sent_at = pool.monotonic()
    pool.dispatch(asker, b"POST / HTTP/1.1\r\n\r\n")  # type: ignore[arg-type]  # tunnels do not come up here
    return asker


async def asked(pool: UpstreamPool) -> Asker:
    """A request that was sent."""
    asker = ask(pool)
    await eventually(lambda: asker.connection is not None)
    return asker


async def answered(server: Server, *askers: Asker) -> None:
    for peer in server.peers[-len(askers) :]:
        peer.write(ANSWER)
    await eventually(lambda: all(asker.outcome == 200 for asker in askers))


def unread(connection: UpstreamConnection) -> int:
    assert connection.transport is not None
    descriptor = connection.transport.get_extra_info("socket").fileno()
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


async def test_a_connection_with_something_to_be_read_carries_nothing() -> None:
    """A second answer came, and the loop has not read it yet: it is nobody's."""
    server = Server()
    async with server.pool() as pool:
        first = await asked(pool)
        await answered(server, first)
        server.peers[0].get_extra_info("socket")._sock.send(ANSWER)
        assert unread(first.connection) == len(ANSWER)
        second = ask(pool)
        assert second.connection is None
        await eventually(lambda: second.connection is not None)
        assert second.connection is not first.connection
        await eventually(lambda: first.connection not in pool.connections)
        assert second.outcome is None


async def test_a_connection_that_ended_unseen_carries_nothing() -> None:
    server = Server()
    async with server.pool() as pool:
        first = await asked(pool)
        await answered(server, first)
        server.peers[0].get_extra_info("socket")._sock.shutdown(1)
        second = ask(pool)
        await eventually(lambda: len(server.peers) == 2)
        assert second.outcome is None


async def test_an_upstream_that_speaks_unasked_is_asked_once_per_connection_for_a_while() -> None:
    """What it says may come in the moment in which another client's request is on its way."""
    server = Server()
    async with server.pool() as pool:
        for pause in (1, 2, 4, 8, 16, 30, 30):
            askers = [await asked(pool) for _ in range(2)]
            await answered(server, *askers)
            server.peers[-1].write(ANSWER)
            await eventually(lambda: not pool.connections)
            for _ in range(2):  # neither of them is used again
                asker = await asked(pool)
                await answered(server, asker)
                await eventually(lambda asker=asker: asker.connection.transport is None)
            server.passed += pause + 0.5
            assert len(server.unsolicited) == 1
            assert server.unsolicited.pop().startswith("http://127.0.0.1:")
            asker = await asked(pool)
            await answered(server, asker)
            assert (await asked(pool)).connection is asker.connection
            await answered(server, asker)
        server.passed += 100
        first = await asked(pool)
        await answered(server, first)
        server.peers[-1].write(ANSWER)
        await eventually(lambda: first.connection not in pool.connections)
        server.passed += 1.5
        first = await asked(pool)
        await answered(server, first)
        assert first.connection in pool.connections, "after a good time it begins with a short pause again"


@pytest.mark.parametrize("said", [b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b""])
async def test_a_server_may_say_that_it_waits_no_longer(said: bytes) -> None:
    server = Server()
    async with server.pool() as pool:
        first = await asked(pool)
        await answered(server, first)
        server.peers[0].write(said)
        server.peers[0].close()
        await eventually(lambda: not pool.connections)
        assert not server.unsolicited


async def test_no_connection_is_handed_out_twice() -> None:
    """Not even when others turn out useless in between."""
    server = Server()
    async with server.pool(idle=5.0) as pool:
        askers = [await asked(pool) for _ in range(3)]
        await answered(server, *askers)
        idle = pool._upstreams[0].idle
        idle[:] = [idle[0], idle[1], (idle[2][0], idle[2][1] - 100)]  # the one that is tried first is too old
        good = [entry[0] for entry in idle[:2]]
        again = [await asked(pool) for _ in range(3)]
        assert [asker.connection for asker in again[:2]] == good[::-1]
        assert len({asker.connection for asker in again}) == 3


async def test_a_connection_goes_back_read_from() -> None:
    """The client takes no more, and the rest of the answer has come all the same, as TLS may bring it."""
    server = Server()
    async with server.pool() as pool:
        first = await asked(pool)
        first.connection.pause_reading()
        first.connection.data_received(ANSWER)
        assert first.outcome == 200
        second = await asked(pool)
        assert second.connection is first.connection
        await answered(server, second)


async def test_a_connection_that_is_paused_or_somebodys_is_not_used() -> None:
    server = Server()
    async with server.pool() as pool:
        first = await asked(pool)
        await answered(server, first)
        assert first.connection.usable
        first.connection.pause_reading()
        assert not first.connection.usable
        with pytest.raises(AssertionError):
            first.connection.send(Asker(), b"", 0.0)
        second = await asked(pool)
        assert second.connection is not first.connection
        assert not second.connection.usable
        with pytest.raises(AssertionError):
            second.connection.send(Asker(), b"", 0.0)


@pytest.mark.parametrize("paused", [False, True])
async def test_an_answer_that_does_not_begin_fails_in_time(*, paused: bool) -> None:
    server = Server()
    async with server.pool() as pool:
        asker = await asked(pool)
        if paused:
            asker.connection.pause_reading()
        now = pool.monotonic()
        pool.check(now + 0.9)
        assert asker.outcome is None
        pool.check(now + 1.1)
        assert asker.outcome is Reason.UPSTREAM_TIMEOUT
        assert pool._upstreams[0].failures == (0 if paused else 1), "a client that does not read is no fault of the API"


async def test_an_answer_that_the_client_does_not_take_is_waited_for() -> None:
    """Its client's connection has the time limit."""
    server = Server()
    async with server.pool() as pool:
        asker = await asked(pool)
        asker.connection.data_received(ANSWER[:-1])
        asker.connection.pause_reading()
        pool.check(time.monotonic() + 100)
        assert asker.outcome is None


async def test_the_health_of_an_address_shows_what_it_carries_and_that_it_is_passed_over() -> None:
    server = Server()
    async with server.pool() as pool:
        (before,) = pool.health()
        assert (before.exchanges, before.idle, before.failures, before.skipped) == (0, 0, 0, 0.0)
        asker = await asked(pool)
        assert pool.health()[0].exchanges == 1
        await answered(server, asker)
        assert (pool.health()[0].exchanges, pool.health()[0].idle) == (0, 1)
        for _ in range(3):
            pool.failed(asker.connection, Fault(Cause.CLOSED_WITHOUT_ANSWER))
        assert 0 < pool.health()[0].skipped <= 1
        server.passed += 1
        assert pool.health()[0].skipped == 0
