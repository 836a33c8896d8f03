"""Every way to leave a connection, at every moment of a request: none keeps its place for ever."""

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import read_response
from tests.support.tcp import rows
from tests.support.upstream import Received, Upstream, reply

LIMITS: Final = {"connections": 1000, "in_flight": 1000}
TIMES: Final = {"request_header": "500ms", "idle": "500ms", "response": "1s", "stream": "1s", "connect": "1s"}
NO_LINGER: Final = struct.pack("ii", 1, 0)

# What is sent of a body, and how it is framed. Something is missing in all but the first three.
BODIES: Final = {
    "none": (b"", b""),
    "whole": (b"Content-Length: 4\r\n", b"abcd"),
    "whole chunks": (b"Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n0\r\n\r\n"),
    "none of it": (b"Content-Length: 4\r\n", b""),
    "a part": (b"Content-Length: 4\r\n", b"ab"),
    "a part of much": (b"Content-Length: 65536\r\n", b"a" * 40_000),
    "a part of too much": (b"Content-Length: 9000000\r\n", b"a" * 70_000),
    "no chunk": (b"Transfer-Encoding: chunked\r\n", b""),
    "a part of a chunk": (b"Transfer-Encoding: chunked\r\n", b"4\r\nab"),
    "no last chunk": (b"Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n"),
    "many chunks": (b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n" * 9000),
    "a broken chunk": (b"Transfer-Encoding: chunked\r\n", b"4\r\nabcdXX"),
    "after 100": (b"Content-Length: 4\r\nExpect: 100-continue\r\n", b""),
    "a form": (b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 40\r\n", b"access_token=a"),
}
METHODS: Final = ("GET", "POST", "HEAD")
# Whose answer comes, and when: the target says it to the API below.
TARGETS: Final = (
    "/early/length", "/early/chunked", "/early/close", "/early/large", "/early/begun", "/early/204", "/early/401",
    "/silent", "/public/early/length", "/oauth/token", "/oauth/authorize", "/refused",
)  # fmt: skip
LEAVES: Final = ("close", "reset", "half-close", "stay")
MOMENTS: Final = ("at once", "after the answer")


def answer(received: Received, connection: socket.socket) -> bool:
    """As the target says; none of it waits for the body."""
    bodyless = received.method == "HEAD"
    match received.target.rpartition("/")[2]:
        case "length":
            connection.sendall(reply(200, b"" if bodyless else b"ok"))
        case "chunked":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            if not bodyless:
                connection.sendall(b"2\r\nok\r\n0\r\n\r\n")
        case "close":
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + (b"" if bodyless else b"ok"))
            return False
        case "large":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + (b"" if bodyless else b"a" * 150_000)
            )
        case "begun":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + (b"" if bodyless else b"begun"))
            time.sleep(1.5)  # longer than any time limit here
            return False
        case "204":
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        case "401":
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        case _:
            time.sleep(1.5)  # longer than any time limit here
            return False
    return True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    routes = [{"path": "/public/**", "access": "public"}]
    with Upstream(answer) as upstream:
        upstream.early = True
        folder: Path = tmp_path_factory.mktemp("leaving")
        with running(folder, upstream.url, timeouts=TIMES, limits=LIMITS, routes=routes) as sidecar:
            yield sidecar


def request(method: str, target: str, body: str, token: str) -> bytes:
    fields, sent = BODIES[body]
    bearer = b"" if target == "/refused" or body == "a form" else b"Authorization: Bearer %b\r\n" % token.encode()
    return b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (method.encode(), target.encode(), bearer, fields, sent)


def leave(connection: socket.socket, way: str) -> None:
    """Leave for good, but for `stay` and `half-close`, which wait for the sidecar to end it."""
    with contextlib.suppress(OSError):
        match way:
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                connection.close()
            case "close":
                connection.close()
            case "half-close":
                connection.shutdown(socket.SHUT_WR)


def present(clients: dict[int, str]) -> list[str]:
    """Which of these clients, by their ports, the sidecar still has a socket for that is not closing."""
    open_states = ("01", "08")  # ESTABLISHED, CLOSE_WAIT
    found = [clients[row.remote_port] for row in rows() if row.remote_port in clients and row.state in open_states]
    return sorted(found)


@pytest.mark.parametrize("target", TARGETS)
def test_no_way_to_leave_keeps_a_connection(place: Sidecar, target: str) -> None:
    """After the time limits nothing is left of any of them."""
    token = place.token()
    labels: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        clients = []
        for method, body, way, moment in itertools.product(METHODS, BODIES, LEAVES, MOMENTS):
            connection = stack.enter_context(socket.create_connection(place.address, timeout=10))
            labels[connection.getsockname()[1]] = f"{method} with {body}, {way} {moment}"
            connection.sendall(request(method, target, body, token))
            clients.append((connection, method, way, moment))
        for connection, method, way, moment in clients:
            if moment == "after the answer":
                with contextlib.suppress(OSError):
                    read_response(connection, method)
            leave(connection, way)
        deadline = time.monotonic() + 20
        while place.metric("sidecar_connections") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert place.metric("sidecar_connections") == 0, present(labels)
        assert place.metric("sidecar_in_flight_requests") == 0
    assert not place.records("internal_error")
