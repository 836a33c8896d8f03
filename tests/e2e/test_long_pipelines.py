"""More requests in one read than the parser takes at a time: what it holds back is neither lost nor forgotten."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import read_all, read_response
from tests.support.tcp import wait_until_read
from tests.support.upstream import Received, Upstream, reply

IDLE = 3.0


def answer(received: Received, connection: socket.socket) -> bool:
    connection.sendall(reply(200, received.target.encode()))
    return True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, Upstream]]:
    timeouts = {"request_header": "500ms", "idle": f"{int(IDLE)}s"}
    with (
        Upstream(answer) as upstream,
        running(tmp_path_factory.mktemp("long"), upstream.url, timeouts=timeouts) as sidecar,
    ):
        yield sidecar, upstream


def request(token: str, target: str, body: bytes = b"") -> bytes:
    method, framing = ("PUT", f"Content-Length: {len(body)}\r\n") if body else ("GET", "")
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{framing}\r\n".encode() + body


@pytest.mark.parametrize("count", [29, 30, 31, 32, 33, 63, 64, 65])
def test_bodies_that_begin_and_end_elsewhere_are_whole(place: tuple[Sidecar, Upstream], count: int) -> None:
    """The parser's queue is full when a body has begun."""
    sidecar, _ = place
    token = sidecar.token()
    first, last = request(token, "/first", b"zz"), request(token, "/last", b"yy")
    between = b"".join(request(token, f"/{number}") for number in range(count))
    with socket.create_connection(sidecar.address, timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first[:-1])
        wait_until_read(connection)
        connection.sendall(first[-1:] + between + last[:-1])
        wait_until_read(connection)
        connection.sendall(last[-1:])
        begun = time.monotonic()
        _left.pop(connection.fileno(), None)
        found = [read_response_keeping(connection) for _ in range(count + 2)]
        assert found == ["/first", *(f"/{number}" for number in range(count)), "/last"]
        assert time.monotonic() - begun < IDLE, "it waited for a time limit"


_left: dict[int, bytes] = {}
"""What came of further answers, by the descriptor of the connection."""


def read_response_keeping(connection: socket.socket) -> str:
    """The body of the next answer of a pipeline."""
    data = _left.pop(connection.fileno(), b"")
    while True:
        head, mark, rest = data.partition(b"\r\n\r\n")
        if mark:
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            if len(rest) >= length:
                _left[connection.fileno()] = rest[length:]
                return rest[:length].decode()
        part = connection.recv(65536)
        assert part, data
        data += part


@pytest.mark.parametrize("count", [32, 33, 40, 64, 65, 100])
def test_an_answered_pipeline_is_idle_and_not_late(place: tuple[Sidecar, Upstream], count: int) -> None:
    """A 408 that nobody asked for could be taken for the next answer."""
    sidecar, _ = place
    token = sidecar.token()
    with socket.create_connection(sidecar.address, timeout=20) as connection:
        connection.sendall(b"".join(request(token, f"/{number}") for number in range(count)))
        _left.pop(connection.fileno(), None)
        for number in range(count):
            assert read_response_keeping(connection) == f"/{number}"
        assert _left.pop(connection.fileno()) == b""
        connection.settimeout(1.5)  # three times what a head may take
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(20)
        connection.sendall(request(token, "/after"))
        assert read_response(connection).body == b"/after"


@pytest.mark.parametrize("cut", [0, 5, 13, 16, 19])
def test_another_protocol_is_refused_behind_what_was_held_back(place: tuple[Sidecar, Upstream], cut: int) -> None:
    sidecar, upstream = place
    token = sidecar.token()
    line = b"OPTIONS /x RTSP/1.0\r\n"
    rest = f"Host: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with socket.create_connection(sidecar.address, timeout=20) as connection:
        connection.sendall(b"".join(request(token, f"/{number}") for number in range(33)) + line[:cut])
        wait_until_read(connection)
        connection.sendall(line[cut:] + rest)
        data = read_all(connection)
    assert b"HTTP/1.1 400 " in data
    assert "/x" not in [received.target for received in upstream.take()]
