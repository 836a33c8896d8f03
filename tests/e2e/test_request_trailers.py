"""Trailers both ways: those that a client announces reach the API, and `TE` tells it that its own will be taken."""

import socket

import pytest

from tests.support.process import Sidecar
from tests.support.raw import exchange, read_all, read_response
from tests.support.upstream import Upstream, saying


def head(token: str, *extra: str) -> bytes:
    lines = ["POST /x HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", "Transfer-Encoding: chunked", *extra]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("value", ["trailers", "deflate;q=0.5, Trailers", "trailers, gzip"])
def test_te_goes_on_as_trailers(sidecar: Sidecar, upstream: Upstream, token: str, value: str) -> None:
    lines = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTE: {value}\r\nConnection: TE\r\n\r\n"
    upstream.answer = saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(2):
            connection.sendall(lines.encode())
            data = b""
            while not data.endswith(b"X-Sum: 7\r\n\r\n"):
                part = connection.recv(65536)
                assert part
                data += part
            assert b"\r\nTrailer: X-Sum\r\n" in data
    for received in upstream.take():
        assert (received.values("te"), received.values("connection")) == (["trailers"], ["TE"])


@pytest.mark.parametrize("value", ["gzip", "", "x-trailers", "trailers2"])
def test_another_te_ends_here(sidecar: Sidecar, upstream: Upstream, token: str, value: str) -> None:
    lines = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTE: {value}\r\n\r\n"
    assert exchange(sidecar.address, lines.encode()).status == 200
    (received,) = upstream.take()
    assert (received.values("te"), received.values("connection")) == ([], [])


@pytest.mark.parametrize("route", ["/x", "/public/x"])
@pytest.mark.parametrize("size", [3, 300_000])
@pytest.mark.parametrize("step", [1 << 20, 7])
def test_announced_trailers_reach_the_api(
    sidecar: Sidecar, upstream: Upstream, token: str, route: str, size: int, step: int
) -> None:
    begin = head(token, "Trailer: X-Sum, X-More").replace(b"/x", route.encode())
    chunk = b"%x\r\n%b\r\n" % (size, b"y" * size)
    end = b"0\r\nX-Sum: 12345\r\nOther: 12345-unannounced\r\nX-More: a b\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(begin + chunk)
        for start in range(0, len(end), step):
            connection.sendall(end[start : start + step])
        assert read_response(connection).status == 200
        connection.sendall(begin.replace(b"Host: a", b"Host: a\r\nConnection: close") + b"0\r\n\r\n")
        assert read_all(connection).count(b"HTTP/1.1 200") == 1
    first, second = upstream.take()
    assert first.body == b"y" * size
    assert first.values("trailer") == ["X-Sum, X-More"]
    assert first.raw.endswith(b"\r\n0\r\nX-Sum: 12345\r\nX-More: a b\r\n\r\n")
    assert b"unannounced" not in first.raw
    assert second.raw.endswith(b"\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "name",
    ["X-Auth-Roles", "x_auth_roles", "X-Forwarded-For", "X-Real-IP", "Cookie", "Authorization", "access_token", "Host",
     "Content-Length", "Transfer-Encoding", "X-HTTP-Method-Override", "Connection", "Content-Encoding"],
)  # fmt: skip
def test_a_field_that_means_something_is_no_trailer(
    sidecar: Sidecar, upstream: Upstream, token: str, name: str
) -> None:
    request = head(token, f"Trailer: {name}, X-Sum") + f"3\r\nabc\r\n0\r\n{name}: forged\r\nX-Sum: 1\r\n\r\n".encode()
    assert exchange(sidecar.address, request).status in (200, 400)
    for received in upstream.take():
        assert b"forged" not in received.raw
        assert received.raw.endswith(b"0\r\nX-Sum: 1\r\n\r\n")


def test_refused_requests_leave_nothing_behind(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    good = head(token, "Trailer: X-Sum") + b"3\r\nabc\r\n0\r\nX-Sum: good\r\n\r\n"
    bad = head("bad", "Trailer: X-Sum") + b"3\r\nabc\r\n0\r\nX-Sum: bad\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for request, status in ((bad, b"401"), (good, b"200"), (bad, b"401"), (good, b"200")):
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)
    assert [received.raw.rpartition(b"X-Sum: ")[2] for received in upstream.take()] == [b"good\r\n\r\n"] * 2


@pytest.mark.parametrize("trailer", ["X-User: another", "Authorization: Bearer another", "X: y\r\nCookie: a=b"])
def test_a_trailer_never_becomes_a_field_of_the_next_request(
    sidecar: Sidecar, upstream: Upstream, token: str, trailer: str
) -> None:
    """Behind a balancer that keeps its connections, the next request is another client's."""
    asks = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(token) + f"2\r\nok\r\n0\r\n{trailer}\r\n\r\n".encode())
        assert read_response(connection).status == 200
        for _ in range(2):
            connection.sendall(asks)
            assert read_response(connection).status == 200
    names = [[name for name, _ in received.headers] for received in upstream.take()[1:]]
    assert len(names) == 2
    for each in names:
        assert not {"x-user", "cookie", "x"} & {name.lower() for name in each}
