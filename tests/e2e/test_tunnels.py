"""WebSocket and other upgrades through the sidecar: a tunnel both ways, and its end."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from tests.support.process import SECRET, Sidecar, configuration, get, running
from tests.support.raw import exchange, read_all, read_response
from tests.support.upstream import Received, Upstream, echo, reply
from tests.support.waiting import eventually, wait_until

UPGRADE = "Connection: Upgrade\r\nUpgrade: {protocol}\r\n"


@pytest.fixture(scope="module")
def echo_server() -> Iterator[str]:
    """The `websockets` library's server, echoing, on a thread of its own; gives its address."""
    started, stop, found = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def handler(connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        await connection.send(json.dumps({"path": path, "who": dict(connection.request.headers.raw_items())}))  # type: ignore[union-attr]
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, max_size=None) as server:
            found.append(server.sockets[0].getsockname()[1])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    started.wait(10)
    yield f"http://127.0.0.1:{found[0]}"
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def ws_sidecar(tmp_path_factory: pytest.TempPathFactory, echo_server: str) -> Iterator[Sidecar]:
    sections = {"limits": {"tunnels": 5}, "routes": [{"path": "/public/**", "access": "public"}]}
    with running(tmp_path_factory.mktemp("sidecar"), echo_server, **sections) as process:
        yield process


@contextlib.asynccontextmanager
async def open_socket(
    sidecar: Sidecar, token: str = "", path: str = "/chat", **options: object
) -> AsyncIterator[ClientConnection]:
    """A WebSocket that has had the server's first message."""
    headers = {"Authorization": f"Bearer {token}", "X-Auth-Client-Id": "forged"} if token else {}
    url = sidecar.public.replace("http://", "ws://") + path
    async with connect(url, additional_headers=headers, max_size=None, **options) as websocket:  # type: ignore[arg-type]
        yield websocket


async def test_messages_of_every_size_pass_both_ways(ws_sidecar: Sidecar) -> None:
    """With permessage-deflate, which both sides of the library ask for."""
    async with open_socket(ws_sidecar, ws_sidecar.token(), "/chat?access_token=&room=1") as websocket:
        hello = json.loads(await websocket.recv())
        assert hello["path"] == "/chat?room=1"
        who = {name.lower(): value for name, value in hello["who"].items()}
        assert who["x-auth-client-id"] == "reporting"
        assert "authorization" not in who
        assert "permessage-deflate" in who["sec-websocket-extensions"]
        assert ws_sidecar.metric("sidecar_tunnels") == 1
        for message in ("a", "ä" * 1000, b"", os.urandom(125), os.urandom(70_000), os.urandom(20_000_000)):
            await websocket.send(message)
            assert await websocket.recv() == message
        await websocket.send([b"part"] * 1000)
        assert await websocket.recv() == b"part" * 1000
        await (await websocket.ping())
    await eventually(lambda: ws_sidecar.metric("sidecar_tunnels") == 0)
    assert ws_sidecar.metric("sidecar_requests_total", decision="admitted", code="101") >= 1


async def test_without_compression_too(ws_sidecar: Sidecar) -> None:
    async with open_socket(ws_sidecar, ws_sidecar.token(), compression=None) as websocket:
        await websocket.recv()
        await websocket.send("x" * 100_000)
        assert len(await websocket.recv()) == 100_000


async def test_many_messages_at_once_arrive_in_order(ws_sidecar: Sidecar) -> None:
    """More than either side's buffers hold: each waits for the other."""
    async with open_socket(ws_sidecar, ws_sidecar.token(), compression=None) as websocket:
        await websocket.recv()

        async def send() -> None:
            for number in range(3000):
                await websocket.send(f"{number}:" + "x" * 5000)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(3000):
                assert (await websocket.recv()).startswith(f"{number}:")  # type: ignore[arg-type]


async def test_without_a_token_there_is_no_websocket(ws_sidecar: Sidecar) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with open_socket(ws_sidecar):
            pass
    assert caught.value.response.status_code == 401


async def test_a_public_route_may_have_one(ws_sidecar: Sidecar) -> None:
    async with open_socket(ws_sidecar, path="/public/chat") as websocket:
        assert "X-Auth-Client-Id" not in json.loads(await websocket.recv())["who"]


async def test_a_revoked_token_ends_its_websocket_with_1008(ws_sidecar: Sidecar) -> None:
    token = ws_sidecar.token()
    async with open_socket(ws_sidecar, token) as websocket, open_socket(ws_sidecar, ws_sidecar.token()) as other:
        await websocket.recv()
        await other.recv()
        form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
        await asyncio.to_thread(get, f"{ws_sidecar.public}/oauth/revoke", form)
        with pytest.raises(ConnectionClosedError) as caught:
            await asyncio.wait_for(websocket.recv(), 5)
        assert caught.value.rcvd
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "token revoked")
        await other.send("still there")
        assert await other.recv() == "still there"
    assert ws_sidecar.metric("sidecar_auth_failures_total", plane="protected", reason="revoked") >= 1


async def test_the_end_comes_between_two_frames_of_a_busy_websocket(ws_sidecar: Sidecar) -> None:
    token = ws_sidecar.token()
    async with open_socket(ws_sidecar, token, compression=None) as websocket:
        await websocket.recv()

        async def chatter() -> None:
            while True:
                await websocket.send(b"x" * 300_000)

        async def listen() -> None:
            for number in range(10_000):
                assert len(await websocket.recv()) == 300_000
                if number == 5:
                    form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
                    await asyncio.to_thread(get, f"{ws_sidecar.public}/oauth/revoke", form)

        task = asyncio.get_running_loop().create_task(chatter())
        with pytest.raises(ConnectionClosedError) as caught:
            await listen()
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1008
        task.cancel()
        await asyncio.wait([task])


async def test_tunnels_have_a_limit(ws_sidecar: Sidecar) -> None:
    token = ws_sidecar.token()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(open_socket(ws_sidecar, token))
        with pytest.raises(InvalidStatus) as caught:
            async with open_socket(ws_sidecar, token):
                pass
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"]
        plain = await asyncio.to_thread(get, f"{ws_sidecar.public}/x", Authorization=f"Bearer {token}")
        assert plain[0] != 503, "other requests go on"
    await eventually(lambda: ws_sidecar.metric("sidecar_tunnels") == 0)


@pytest.mark.parametrize("end", ["101", "200", "leave", "fail"])
def test_an_upgrade_that_was_asked_for_counts_until_its_answer(tmp_path: Path, end: str) -> None:
    """Asked for all at once, no more than the limit become tunnels; and what came to nothing counts no longer."""
    release = threading.Event()

    def late(received: Received, connection: socket.socket) -> bool:
        release.wait(10)
        if end == "200":  # that goes on for as long as it likes
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            return bool(connection.recv(1))
        return end == "101" and switching(received, connection)

    with (
        Upstream(late) as upstream,
        running(tmp_path, upstream.url, limits={"tunnels": 5}) as sidecar,
        contextlib.ExitStack() as stack,
    ):
        token = sidecar.token()
        clients = [stack.enter_context(socket.create_connection(sidecar.address, timeout=10)) for _ in range(40)]
        for client in clients:
            client.sendall(head_of(token))
        wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 5 and len(upstream.received) == 5)
        waiting = [client for client in clients if not _readable(client)]
        assert len(waiting) == 5
        assert {read_response(client).status for client in clients if client not in waiting} == {503}
        if end == "leave":
            for client in waiting:
                client.close()
            wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 0)
        release.set()
        if end == "101":
            assert {client.recv(12) for client in waiting} == {b"HTTP/1.1 101"}
            assert exchange(sidecar.address, head_of(token)).status == 503
            for client in waiting:
                client.close()
            wait_until(lambda: sidecar.metric("sidecar_tunnels") == 0)
        elif end != "leave":
            assert {client.recv(12) for client in waiting} == {b"HTTP/1.1 200" if end == "200" else b"HTTP/1.1 502"}
        upstream.answer = switching
        with socket.create_connection(sidecar.address, timeout=10) as client:
            client.sendall(head_of(token))
            assert client.recv(12) == b"HTTP/1.1 101"


def _readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0.05)[0])


async def test_a_client_that_vanishes_ends_the_tunnel(ws_sidecar: Sidecar) -> None:
    async with open_socket(ws_sidecar, ws_sidecar.token()) as websocket:
        await websocket.recv()
        websocket.transport.abort()
        await eventually(lambda: ws_sidecar.metric("sidecar_tunnels") == 0)


async def test_sigterm_tells_websockets_to_go_elsewhere(tmp_path: Path, echo_server: str) -> None:
    with running(tmp_path, echo_server) as sidecar:
        async with open_socket(sidecar, sidecar.token()) as websocket:
            await websocket.recv()
            sidecar.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosedOK) as caught:
                await asyncio.wait_for(websocket.recv(), 5)
            assert caught.value.rcvd
            assert caught.value.rcvd.code == 1001
        assert await asyncio.to_thread(sidecar.process.wait, 10) == 0


async def test_an_expired_token_ends_websocket_and_stream(tmp_path: Path, echo_server: str) -> None:
    tokens = configuration("")["tokens"] | {"access_token_ttl": "2s"}
    with running(tmp_path, echo_server, tokens=tokens) as sidecar:
        async with open_socket(sidecar, sidecar.token()) as websocket:
            await websocket.recv()
            with pytest.raises(ConnectionClosedError) as caught:
                await asyncio.wait_for(websocket.recv(), 8)
            assert caught.value.rcvd
            assert caught.value.rcvd.reason == "token expired"


async def test_it_can_be_switched_off(tmp_path: Path, echo_server: str) -> None:
    tokens = configuration("")["tokens"] | {"access_token_ttl": "1s"}
    with running(tmp_path, echo_server, tokens=tokens, streams={"end_with_token": False}) as sidecar:
        async with open_socket(sidecar, sidecar.token()) as websocket:
            await websocket.recv()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(websocket.recv(), 3)
            await websocket.send("still there")
            assert await websocket.recv() == "still there"


# Raw sockets: other protocols, and what is no tunnel.


def switching(received: Received, connection: socket.socket) -> bool:
    """Answer 101, then echo upper case, until the other side ends."""
    protocol = received.values("upgrade")[0]
    connection.sendall(
        f"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nX-A: b\r\n\r\nhello ".encode()
    )
    while data := connection.recv(65536):
        connection.sendall(data.upper())
    connection.sendall(b"bye")
    return False


def head_of(token: str, protocol: str = "custom/1", extra: str = "", method: str = "GET") -> bytes:
    upgrade = UPGRADE.format(protocol=protocol)
    return f"{method} /t HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{upgrade}{extra}\r\n".encode()


def test_any_other_protocol_is_a_byte_tunnel(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Half-closing is passed on: the upstream still says goodbye."""
    upstream.answer = switching
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head_of(token))
        answer = b""
        while not answer.endswith(b"hello "):
            answer += connection.recv(65536)
        assert answer == (b"HTTP/1.1 101 Switching\r\nX-A: b\r\nConnection: Upgrade\r\nUpgrade: custom/1\r\n\r\nhello ")
        connection.sendall(b"abc\x00")
        assert connection.recv(100) == b"ABC\x00"
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"bye"
    (received,) = upstream.take()
    assert (received.values("connection"), received.values("upgrade")) == (["Upgrade"], ["custom/1"])
    wait_until(lambda: sidecar.metric("sidecar_tunnels") == 0)


class HalfClosing:
    """Answers 101 to a WebSocket and says no more; the one of `side` "upstream" also ends its own direction."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.heard = b""
        self.done = threading.Event()

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        if self.side == "upstream":
            connection.shutdown(socket.SHUT_WR)
        self.heard = read_all(connection)
        self.done.wait(10)
        return False


@contextlib.contextmanager
def half_closed(sidecar: Sidecar, upstream: Upstream, token: str, side: str) -> Iterator[socket.socket]:
    """The client's end of a WebSocket of which one side has ended its direction, and the other has been told."""
    answer = upstream.answer = HalfClosing(side)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head_of(token, "websocket"))
        seen = b""
        while not seen.endswith(b"\r\n\r\n"):
            seen += connection.recv(1)
        if side == "client":
            connection.shutdown(socket.SHUT_WR)
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 0.2)
        else:
            assert connection.recv(1) == b""
        yield connection
        answer.done.set()


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_half_closed_websocket_ends_with_its_token_and_harms_nobody(
    sidecar: Sidecar, upstream: Upstream, token: str, side: str
) -> None:
    own = sidecar.token()
    with half_closed(sidecar, upstream, own, side) as connection:
        form = {"token": own, "client_id": "reporting", "client_secret": SECRET}
        assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
        if side == "client":
            assert read_all(connection, 5) == b"\x88\x0f\x03\xf0token revoked"
        wait_until(lambda: sidecar.metric("sidecar_tunnels") == 0, within=5)
    wait_until(lambda: sidecar.metric("sidecar_connections") <= 1, within=5)
    upstream.answer = echo
    assert get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0] == 200
    assert not sidecar.records("internal_error")
    assert not sidecar.records("background_task_ended")


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_half_closed_websocket_does_not_stop_the_drain(tmp_path: Path, side: str) -> None:
    with (
        Upstream() as upstream,
        running(tmp_path, upstream.url) as sidecar,
        half_closed(sidecar, upstream, sidecar.token(), side) as connection,
    ):
        sidecar.process.send_signal(signal.SIGTERM)
        assert read_all(connection, 5) == (b"\x88\x0c\x03\xe9going away" if side == "client" else b"")
        assert sidecar.process.wait(10) == 0
        assert sidecar.record("stopped")["requests_cut"] == 0


@pytest.mark.parametrize("protocol", ["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "h2c, websocket", ""])
def test_a_protocol_that_carries_requests_gets_no_tunnel(
    sidecar: Sidecar, upstream: Upstream, token: str, protocol: str
) -> None:
    """Through one, any number of requests would pass unchecked (h2c smuggling)."""
    response = exchange(sidecar.address, head_of(token, protocol, "HTTP2-Settings: AAMAAABk\r\n"))
    assert response.status == 200
    (received,) = upstream.take()
    assert (received.values("upgrade"), received.values("connection")) == ([], [])


REFUSED_TUNNELS = {
    "a body": ("Content-Length: 3\r\n", b"abc", "POST"),
    "a chunked body": ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", "POST"),
    "early bytes": ("", b"early", "GET"),
    "an early request": ("", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", "GET"),
}


@pytest.mark.parametrize("protocol", ["websocket", "custom/1"])
@pytest.mark.parametrize("case", REFUSED_TUNNELS)
def test_a_body_or_early_bytes_get_no_tunnel(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str, protocol: str
) -> None:
    extra, body, method = REFUSED_TUNNELS[case]
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head_of(token, protocol, extra, method) + body)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b" 101 " not in answer
    targets = [received.target for received in upstream.take()]
    assert targets == ["/t"]


def test_early_bytes_in_a_later_read_get_no_tunnel(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    release = threading.Event()

    def late(received: Received, connection: socket.socket) -> bool:
        release.wait(5)
        return switching(received, connection)

    upstream.answer = late
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head_of(token))
        wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 1)
        connection.sendall(b"early")
        wait_until(lambda: len(upstream.received) == 1)
        threading.Timer(0.2, release.set).start()
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 502 ")


def test_200_instead_of_101_is_no_tunnel_and_neither_connection_is_used_again(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head_of(token, "websocket"))
        assert read_response(connection).status == 200
        with contextlib.suppress(ConnectionError):
            connection.sendall(f"GET /second HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert read_all(connection) == b""
    (first,) = upstream.take()
    assert (
        exchange(
            sidecar.address, f"GET /third HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        ).status
        == 200
    )
    (third,) = upstream.take()
    assert first.connection != third.connection


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 101 S\r\nUpgrade: custom/1\r\n\r\n",
    b"HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 101 S\r\n\r\n",
])  # fmt: skip
def test_101_that_does_not_say_what_it_switches_to_is_502(
    sidecar: Sidecar, upstream: Upstream, token: str, answer: bytes
) -> None:
    upstream.answer = lambda received, connection: bool(connection.sendall(answer + reply())) or True
    assert exchange(sidecar.address, head_of(token)).status == 502


def test_a_stream_ends_when_its_token_is_revoked(sidecar: Sidecar, upstream: Upstream) -> None:
    """Server-sent events: they flow unbuffered, and are cut, not ended cleanly."""
    gone = threading.Event()

    def events(received: Received, connection: socket.socket) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"8\r\ndata: 1\n\r\n")
        connection.settimeout(10)
        assert connection.recv(1) == b""
        gone.set()
        return False

    token = sidecar.token()
    upstream.answer = events
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        seen = b""
        while b"data: 1" not in seen:
            seen += connection.recv(1000)
        form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
        assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
        assert b"0\r\n\r\n" not in read_all(connection, 5)
    assert gone.wait(5), "the upstream is told"
