"""Slow, stalled and oversized clients: each is refused or closed in its time, and costs the others nothing."""

import contextlib
import json
import socket
import time
import zlib

import pytest

from tests.support.process import Sidecar, get
from tests.support.raw import Response, exchange, read_all, read_response
from tests.support.upstream import Endless, Upstream, reply
from tests.support.waiting import wait_until

HEADER_LIMIT, LINE_LIMIT = 16 * 1024, 4 * 1024


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "timeouts": {"request_header": "400ms", "idle": "600ms", "response": "700ms", "connect": "500ms"},
        "limits": {"headers": "16KiB", "request_line": "4KiB", "header_count": 50},
        "routes": [{"path": "/public/**", "access": "public"}],
    }


def reason(response: Response) -> str:
    return str(json.loads(response.body)["reason"])


def drip(connection: socket.socket, data: bytes, seconds: float = 5) -> bytes:
    """Send a byte every 50 ms until the other side answers or closes."""
    connection.settimeout(0.05)
    deadline = time.monotonic() + seconds
    for byte in data:
        with contextlib.suppress(TimeoutError):
            return connection.recv(65536)
        try:
            connection.sendall(bytes([byte]))
        except ConnectionError:
            return b""
        assert time.monotonic() < deadline, "it goes on for ever"
    raise AssertionError("all was taken")


def test_a_dripped_header_is_408(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n" + "X-Pad: a\r\n" * 100
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        answer = drip(connection, head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in answer
    assert upstream.take() == []


def test_a_connection_that_says_nothing_is_closed(sidecar: Sidecar) -> None:
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        assert read_all(connection, 5) == b""


def test_an_idle_keep_alive_connection_is_closed(sidecar: Sidecar, token: str) -> None:
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.sendall(head.encode())
        assert read_response(connection).status == 200
        begun = time.monotonic()
        assert read_all(connection, 5) == b""
        assert time.monotonic() - begun > 0.4, "the next request may take its time"


@pytest.mark.parametrize("path", ["/oauth/token", "/x"])
def test_a_body_that_stops_is_408(sidecar: Sidecar, upstream: Upstream, path: str) -> None:
    """Our own endpoint, and a protected path whose body may hold the token."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na="
    response = exchange(sidecar.address, head.encode(), "POST")
    assert (response.status, reason(response)) == (408, "request_timeout")
    assert upstream.take() == []


def test_an_upload_that_stops_is_408_and_the_upstream_sees_no_whole_request(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    head = f"PUT /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\nabc"
    assert exchange(sidecar.address, head.encode(), "PUT").status == 408
    assert upstream.take() == []


def test_hundreds_of_half_requests_cost_the_others_nothing(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(800):
            connection = stack.enter_context(socket.create_connection(sidecar.address, timeout=5))
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nX-")
        assert get(f"{sidecar.public}/ok", Authorization=f"Bearer {token}")[0] == 200
        wait_until(lambda: sidecar.metric("sidecar_requests_total", code="408") >= 800)
    assert [received.target for received in upstream.take()] == ["/ok"]


OVERSIZED = {
    "a long path": (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * LINE_LIMIT), 414, "request_line_too_long"),
    "a long query": (b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * LINE_LIMIT), 414, "request_line_too_long"),
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * HEADER_LIMIT), 431, "headers_too_large"),
    "a long name": (b"GET / HTTP/1.1\r\nHost: a\r\n%b: a\r\n\r\n" % (b"a" * HEADER_LIMIT), 431, "headers_too_large"),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 60 + b"\r\n", 431, "headers_too_large"),
    "large headers in all": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: %b\r\n" % (b"a" * 1000)) * 20 + b"\r\n", 431, "headers_too_large",
    ),
    "headers without end": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: %b\r\n" % (b"a" * 1000)) * 40, 431, "headers_too_large",
    ),
    "a line without end": (b"GET /" + b"a" * 4 * LINE_LIMIT, 414, "request_line_too_long"),
    "a large token request": (
        b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", 413, "body_too_large",
    ),
    "a large chunked token request": (
        b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"a" * 0x20000,
        413, "body_too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OVERSIZED)
def test_what_is_too_large_is_named(sidecar: Sidecar, upstream: Upstream, case: str) -> None:
    data, status, word = OVERSIZED[case]
    response = exchange(sidecar.address, data)
    assert (response.status, reason(response)) == (status, word)
    assert response.values("connection") == ["close"]
    assert upstream.take() == []


def test_headers_up_to_the_limit_pass(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    value = "a" * (HEADER_LIMIT - 2000)
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX-Big: {value}\r\n\r\n"
    assert exchange(sidecar.address, head.encode()).status == 200
    assert upstream.take()[0].values("x-big") == [value]


def test_a_compressed_bomb_passes_unpacked_by_nobody(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Both ways: 64 MiB of zeros, as the 64 KiB that they are compressed."""
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 9)
    upstream.answer = lambda received, connection: bool(
        connection.sendall(reply(200, bomb, "Content-Encoding: deflate")) or True
    )
    head = (
        f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Encoding: deflate\r\nContent-Length: {len(bomb)}\r\n\r\n"
    )
    response = exchange(sidecar.address, head.encode() + bomb, "POST")
    assert response.body == bomb
    assert upstream.take()[0].body == bomb


def test_labels_stay_bounded_whatever_callers_invent(sidecar: Sidecar) -> None:
    def series() -> int:
        return len(get(f"{sidecar.admin}/metrics")[1].splitlines())

    def storm(start: int) -> None:
        for number in range(start, start + 100):
            head = f"{method(number)} /p{number} HTTP/1.1\r\nHost: h{number}\r\n\r\n"
            assert exchange(sidecar.address, head.encode()).status in (400, 401)
        form = {"grant_type": f"g{start}", "client_id": f"c{start}", "client_secret": "s"}
        assert get(f"{sidecar.public}/oauth/token", form)[0] == 401

    def method(number: int) -> str:
        return ("PROPFIND", "PATCH", f"M{number}", "M-SEARCH")[number % 4]

    storm(0)
    before = series()
    storm(1000)
    assert series() == before


def test_what_is_logged_is_one_line_without_control_characters(sidecar: Sidecar) -> None:
    count = len(sidecar.logs)
    for target in ("/%1b[31m%0d%0aevil", "/\x1b[31mred", "/a\x9bb", "/\u2028"):
        exchange(sidecar.address, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    wait_until(lambda: len(sidecar.logs) >= count + 4)
    for line in sidecar.logs[count:]:
        assert line.endswith("\n")
        assert all(" " <= character <= "~" for character in line.rstrip("\n"))
        json.loads(line)


def test_a_client_that_does_not_read_is_cut_and_holds_no_memory(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    """The upstream is read no faster than the client takes it."""
    endless = upstream.answer = Endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(65536), 256 * 1024 * 1024)
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head.encode())
        assert endless.ended.wait(10)
    assert endless.sent < 32 * 1024 * 1024


def test_pipelined_requests_are_answered_in_order(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Also when there are more than are held at once."""
    upstream.answer = lambda received, connection: bool(
        connection.sendall(reply(200, received.target.encode())) or True
    )
    heads = [f"GET /{n} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n" for n in range(200)]
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(
            "".join(heads[:-1]).encode() + heads[-1].replace("Host", "Connection: close\r\nHost").encode()
        )
        answer = read_all(connection)
    positions = [answer.index(f"\r\n\r\n/{n}".encode()) for n in range(200)]
    assert positions == sorted(positions)
    assert answer.count(b"HTTP/1.1 200 ") == 200
