"""Connections to Redis that end while they are idle, or under a command: what is sent again, and what is a `StoreUnavailable`.

On both event loops: they say differently that a connection is gone.
"""

import asyncio
import contextlib
import gc
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from sidecar.core.oauth.refresh_tokens import Family, FamilyAccess, Rotation
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.core.throttling import Rate
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.store import RedisStore
from tests.support.redis import RedisServer, free_port
from tests.support.relay import Relay
from tests.support.waiting import eventually

AT_ONCE = 20
FUTURE = int(time.time()) + 1000
FAMILY = Family("c", "s", (), ("a",), int(time.time()), FUTURE)

Main = Callable[[RedisStore], Coroutine[Any, Any, None]]
Run = Callable[[str, Main], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine with a store at an address."""

    def start(url: str, main: Main) -> None:
        async def with_store() -> None:
            store = RedisStore(
                Server(url, timeout=5),
                prefix="{test}",
                interval=0.2,
                clock=time.time,
                monotonic=time.monotonic,
                emit=lambda _: None,
            )
            try:
                await main(store)
            finally:
                await store.close()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(with_store())

    return start


@pytest.fixture
def relay(redis_server: RedisServer) -> Iterator[Relay]:
    with Relay(("127.0.0.1", redis_server.port)) as link:
        yield link


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, str]]:
    """A server that speaks TLS, and its address."""
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ["--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    with RedisServer(*options, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no") as server:
        yield server, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}"


def url_of(relay: Relay) -> str:
    return f"redis://127.0.0.1:{relay.port}/0"


async def warm(store: RedisStore, relay: Relay) -> None:
    """Leave so many idle connections, all known to redis-py as good."""
    await asyncio.gather(*(store.get(f"warm:{number}") for number in range(AT_ONCE)))
    assert relay.open >= AT_ONCE


def all_heard(store: RedisStore) -> bool:
    """Whether the loop has heard of the end of every connection."""
    streams = [(each._reader, each._writer) for each in store._server._pool._available_connections]
    return all(reader is None or reader.at_eof() or writer.transport.is_closing() for reader, writer in streams)


def rotation(number: int) -> Rotation:
    return Rotation("c", f"first{number}", f"second{number}", (), FamilyAccess(f"b{number}", FUTURE), 10, 100)


# What must not be done twice, and its good answer.
ONCE: dict[str, Callable[[RedisStore, int], Awaitable[object]]] = {
    "add": lambda store, n: store.add(f"once:{n}", 60),
    "put": lambda store, n: store.put(f"put:{n}", "x", 60),
    "pop": lambda store, n: store.pop(f"kept:{n}"),
    "consume": lambda store, n: store.consume([(f"budget:{n}", Rate(2, 60))]),
    "open_family": lambda store, n: store.open_family(f"new{n}", FAMILY, f"cur{n}", FamilyAccess(f"a{n}", FUTURE), 100),
    "rotate": lambda store, n: store.rotate(f"old{n}", rotation(n)),
    "end_family": lambda store, n: store.end_family(f"other{n}", forbid=60),
}
# What may be done again.
AGAIN: dict[str, Callable[[RedisStore, int], Awaitable[object]]] = {
    "ping": lambda store, n: store.ping(),
    "get": lambda store, n: store.get(f"kept:{n}"),
    "delete": lambda store, n: store.delete(f"gone:{n}"),
    "revoke": lambda store, n: store.revoke(f"jti{n}", FUTURE),
    "read_family": lambda store, n: store.read_family(f"old{n}"),
    "beat": lambda store, n: store.revocations.heartbeat(b""),
}


async def prepare(store: RedisStore, count: int) -> None:
    for number in range(count):
        await store.put(f"kept:{number}", f"value{number}", 60)
        assert await store.open_family(
            f"old{number}", FAMILY, f"first{number}", FamilyAccess(f"a{number}", FUTURE), 100
        )
    await store.revocations.heartbeat(b"")  # every script that is used below is known to the server
    await store.revoke("known", FUTURE)
    await store.consume([("budget:known", Rate(2, 60))])
    await store.end_family("known", forbid=60)
    with contextlib.suppress(StoreUnavailable):
        await store.rotate("known", rotation(99))


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("end", [Relay.reset, Relay.finish])
def test_after_the_end_of_all_idle_connections_every_command_goes_to_a_new_one_once(
    run: Run, relay: Relay, redis_server: RedisServer, end: Callable[[Relay], None], heard: bool
) -> None:
    """Nothing was sent, so nothing needs to be guessed. `heard`: the loop knows it before the commands come."""

    async def main(store: RedisStore) -> None:
        await prepare(store, AT_ONCE)
        await warm(store, relay)
        before = redis_server.calls()
        end(relay)
        if heard:
            await eventually(lambda: all_heard(store))
        commands = [*ONCE.values(), *AGAIN.values()]
        await asyncio.gather(*(command(store, number) for number, command in enumerate(commands)))
        after = redis_server.calls()
        sent = {name: after[name] - before.get(name, 0) for name in ("evalsha", "getdel", "ping")}
        assert sent == {"evalsha": 6, "getdel": 1, "ping": 1}

    run(url_of(relay), main)


def test_after_each_of_many_resets_every_answer_is_right(run: Run, relay: Relay) -> None:
    async def main(store: RedisStore) -> None:
        await prepare(store, AT_ONCE)
        for turn in range(5):
            await warm(store, relay)
            relay.reset()
            taken = await asyncio.gather(*(store.add(f"turn{turn}:{number}", 60) for number in range(AT_ONCE)))
            assert taken == [True] * AT_ONCE

    run(url_of(relay), main)


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("end", [Relay.reset, Relay.finish])
def test_the_same_over_tls(run: Run, tls: tuple[RedisServer, str], end: Callable[[Relay], None], heard: bool) -> None:
    server, url = tls
    server.command("FLUSHALL")
    port = int(urlsplit(url).port or 0)

    async def main(store: RedisStore) -> None:
        await prepare(store, AT_ONCE)
        for turn in range(3):
            await warm(store, relay)
            end(relay)
            if heard:
                await eventually(lambda: all_heard(store))
            taken = await asyncio.gather(*(store.add(f"turn{turn}:{number}", 60) for number in range(AT_ONCE)))
            assert taken == [True] * AT_ONCE

    with Relay(("127.0.0.1", port)) as relay:
        run(url.replace(f":{port}/", f":{relay.port}/"), main)


@pytest.mark.parametrize("name", ONCE)
def test_what_may_have_been_done_is_not_sent_again(
    run: Run, relay: Relay, redis_server: RedisServer, name: str
) -> None:
    """A firewall that forgot the connection answers what is sent on it by a reset; so does a server that did it and died."""

    async def main(store: RedisStore) -> None:
        await prepare(store, 1)
        await warm(store, relay)
        before = redis_server.calls()
        relay.forget()
        with pytest.raises(StoreUnavailable) as raised:
            await ONCE[name](store, 0)
        assert raised.value.__cause__ is not None
        assert redis_server.calls().get("evalsha", 0) == before.get("evalsha", 0)
        await asyncio.gather(*(command(store, 0) for command in ONCE.values()))

    run(url_of(relay), main)


@pytest.mark.parametrize("name", AGAIN)
def test_what_changes_nothing_by_being_done_twice_is_sent_again(run: Run, relay: Relay, name: str) -> None:
    async def main(store: RedisStore) -> None:
        await prepare(store, 1)
        await warm(store, relay)
        relay.forget()
        await AGAIN[name](store, 0)
        await asyncio.gather(*(AGAIN[name](store, 0) for _ in range(AT_ONCE)))

    run(url_of(relay), main)


def test_a_connection_that_is_reset_under_a_command(run: Run, relay: Relay, redis_server: RedisServer) -> None:
    async def main(store: RedisStore) -> None:
        await prepare(store, 1)
        await warm(store, relay)
        redis_server.pause()
        passed = relay.passed
        asked = [asyncio.get_running_loop().create_task(each) for each in (store.get("kept:0"), store.add("x", 60))]
        await eventually(lambda: relay.passed == passed + 2)
        relay.reset()
        redis_server.resume()
        got, failed = await asyncio.gather(*asked, return_exceptions=True)
        assert got == "value0"
        assert isinstance(failed, StoreUnavailable)

    run(url_of(relay), main)


GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\r\n", b"$-5\r\n", b"$99999999999999999999\r\n", b"*-7\r\n", b":no\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n?\r\n", b"-\r\n", b"-MOVED\r\n", b"-MOVED x y\r\n",
    b"-ASK 1\r\n", b"-\xff\xff\r\n", b"$3\r\nab", b"", b"!5\r\n", b">2\r\n+a\r\n+b\r\n", b"%1\r\n+a\r\n+b\r\n",
]  # fmt: skip


@pytest.mark.parametrize("answer", GARBAGE)
def test_whatever_a_server_says_is_never_another_exception(run: Run, answer: bytes) -> None:
    """From something that is no Redis, to each command on a new connection, then the connection ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()

        async def main(store: RedisStore) -> None:
            for command in (*ONCE.values(), *AGAIN.values()):
                with pytest.raises(StoreUnavailable):
                    await command(store, 0)
            with pytest.raises(StoreUnavailable):
                await anext(store.revocations.entries(b"0-0"))

        run(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", main)
        listener.shutdown(socket.SHUT_RDWR)


def test_the_feed_lives_through_resets(run: Run, relay: Relay, redis_server: RedisServer) -> None:
    """With idle connections in the pool, which its heartbeat meets."""

    async def main(store: RedisStore) -> None:
        view = RevocationView(1.0)
        following = asyncio.get_running_loop().create_task(store.follow(view))
        await eventually(lambda: view.usable(time.monotonic()))
        for turn in range(5):
            await warm(store, relay)
            relay.reset()
            redis_server.command("FLUSHALL") if turn == 2 else None
            await store.revoke(f"t{turn}", FUTURE)
            moment = time.monotonic()
            await eventually(lambda moment=moment: view.staleness(moment) == 0)
            assert not following.done()
        assert all(f"t{turn}" in view for turn in range(5))
        following.cancel()
        await asyncio.wait([following], timeout=10)
        assert following.cancelled()

    run(url_of(relay), main)


async def wait_alone(server: Server, used: asyncio.Event) -> None:
    async with server.alone(5) as command:
        await command(lambda redis: redis.ping())
        used.set()


async def run_one(server: Server, used: asyncio.Event) -> None:
    await server.run(server.redis.ping)
    used.set()


async def warm_up(server: Server, used: asyncio.Event) -> None:
    await server.warm()
    used.set()


@pytest.mark.parametrize("work", [wait_alone, run_one, warm_up])
@pytest.mark.parametrize("begun", [False, True])
def test_a_cancellation_at_any_step_of_the_loop_leaves_no_connection_open(
    run: Run, redis_server: RedisServer, work: Callable[[Server, asyncio.Event], Coroutine[Any, Any, None]], begun: bool
) -> None:
    """`begun`: the steps are counted from the command's answer, through the closing; else from the start, through the opening."""

    async def main(_: RedisStore) -> None:
        loop = asyncio.get_running_loop()
        for steps in range(40):
            server, used = Server(redis_server.url, timeout=5), asyncio.Event()

            async def whole(server: Server = server, used: asyncio.Event = used) -> None:
                try:
                    await work(server, used)
                finally:
                    await server.close()

            task = loop.create_task(whole())
            if begun:
                await asyncio.wait_for(used.wait(), 10)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=10)
            assert task.done()
            await server.close()
        del server, task, whole
        gc.collect()  # an unclosed connection would be a ResourceWarning, which is an error

    run(redis_server.url, main)


def test_scores_and_names_that_cannot_be_read_are_remembered_for_good(run: Run, redis_server: RedisServer) -> None:
    redis_server.command(
        "ZADD", "{test}:revoked", "inf", "infinite", "-inf", "ended", "1e300", "huge", "5", b"\xff\xfe"
    )

    async def main(store: RedisStore) -> None:
        found = {name: until async for entries in store.revocations.all_revocations() for name, until in entries}
        assert found["infinite"] == found["huge"] > FUTURE
        assert len(found) == 4
        view = RevocationView(1.0)
        following = asyncio.get_running_loop().create_task(store.follow(view))
        await eventually(lambda: view.usable(time.monotonic()))
        assert "infinite" in view
        following.cancel()
        await asyncio.wait([following], timeout=10)

    run(redis_server.url, main)
