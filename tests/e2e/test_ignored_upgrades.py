"""An upgrade that is ignored leaves the connection as it is (RFC 9110 section 7.8), for the JDK's and Apache's clients among others."""

import socket

import pytest

from tests.support.process import Sidecar
from tests.support.raw import read_all, read_response
from tests.support.upstream import Upstream

IGNORED = ["h2c", "TLS/1.2", "h2c, websocket", "TLS/1.2, HTTP/1.1", "http/2.0"]


def head(token: str, protocol: str, method: str = "GET", target: str = "/x", *extra: str) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}",
        "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", f"Upgrade: {protocol}",
        *extra, "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("protocol", IGNORED)
def test_the_connection_is_kept(sidecar: Sidecar, upstream: Upstream, token: str, protocol: str) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for number in range(3):
            connection.sendall(head(token, protocol, target=f"/{number}"))
            response = read_response(connection)
            assert response.status == 200
            assert response.values("connection") == []
        connection.sendall(head(token, protocol, "POST", "/b", "Content-Length: 3") + b"abc")
        assert read_response(connection, "POST").status == 200
        connection.sendall(head(token, protocol, "POST", "/c", "Content-Length: 3"))
        connection.sendall(b"abc")
        assert read_response(connection, "POST").status == 200
        connection.sendall(head(token, "", target="/e"))
        assert read_response(connection).status == 200
    received = upstream.take()
    assert [each.target for each in received] == ["/0", "/1", "/2", "/b", "/c", "/e"]
    assert [each.body for each in received] == [b""] * 3 + [b"abc"] * 2 + [b""]
    assert not any(each.values("upgrade") or each.values("http2-settings") for each in received)


@pytest.mark.parametrize("protocol", IGNORED)
@pytest.mark.parametrize("body", [False, True])
def test_what_is_sent_behind_it_in_one_piece_is_not_lost_unseen(
    sidecar: Sidecar, upstream: Upstream, token: str, protocol: str, *, body: bool
) -> None:
    """The parser drops it: the connection ends, so that the client knows."""
    extra, rest = (["Content-Length: 3"], b"abc") if body else ([], b"")
    data = head(token, protocol, "POST" if body else "GET", "/first", *extra) + rest + head(token, "", target="/second")
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(data)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert [each.target for each in upstream.take()] == ["/first"]


def test_after_a_chunked_body_the_connection_ends(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Nobody can tell whether something behind it was dropped."""
    request = head(token, "h2c", "POST", "/first", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(request + head(token, "", target="/second"))
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert [each.body for each in upstream.take()] == [b"abc"]


def test_what_is_sent_behind_its_body_in_one_piece_is_not_lost_unseen(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(token, "h2c", "POST", "/first", "Content-Length: 3"))
        connection.sendall(b"abc" + head(token, "", target="/second"))
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 200 ") <= 1
    assert {each.target for each in upstream.take()} <= {"/first"}
