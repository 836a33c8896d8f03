"""An upstream that breaks a rule of HTTP, or merely takes a liberty: it costs its own exchange, never another one."""

import socket
from pathlib import Path

import pytest

from tests.support.holding import Holding, held
from tests.support.process import Sidecar, running
from tests.support.raw import exchange, read_response
from tests.support.upstream import Received, Upstream, reply
from tests.support.waiting import wait_until


def head(token: str, target: str = "/x", method: str = "GET", extra: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{extra}\r\n".encode()


# How many connections there may be.


class Closing(Holding):
    """It closes every connection after its answer."""

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        super().__call__(received, connection)
        return False


def test_a_connection_counts_once_while_it_is_opened(tmp_path: Path) -> None:
    """As many requests as may have a connection arrive at the same moment, again and again."""
    holding = Closing()
    with Upstream(holding) as upstream, running(tmp_path, {"url": upstream.url, "max_connections": 3}) as sidecar:
        request = head(sidecar.token())
        for _ in range(20):
            holding.release.clear()
            with held(sidecar, holding, 3, request) as connections:
                holding.release.set()
                assert [read_response(connection).status for connection in connections] == [200] * 3
            closed = upstream.connections
            wait_until(lambda closed=closed: upstream.closed == closed)


# Bytes that come too late.

PLAIN = "HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nevil"
BODYLESS = {  # the method, the head of the answer, whether the connection may be used again
    "HEAD with a length": ("HEAD", "200 X\r\nContent-Length: 41\r\n", False),
    "HEAD with chunks": ("HEAD", "200 X\r\nTransfer-Encoding: chunked\r\n", False),
    "HEAD with nothing to come": ("HEAD", "200 X\r\nContent-Length: 0\r\n", True),
    "HEAD of what did not change": ("HEAD", "304 X\r\n", True),
    "304 with a length": ("GET", "304 X\r\nContent-Length: 41\r\n", False),
    "304 with chunks": ("GET", "304 X\r\nTransfer-Encoding: chunked\r\n", False),
    "304": ("GET", "304 X\r\n", True),
    "204": ("GET", "204 X\r\n", True),
}


@pytest.mark.parametrize("case", BODYLESS)
def test_a_body_that_must_not_come_answers_nobody_else(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str
) -> None:
    """The upstream sends the body that it announced, late: when the next request is there."""
    method, answer, kept = BODYLESS[case]

    def careless(received: Received, connection: socket.socket) -> bool:
        if received.target == "/first":
            connection.sendall(f"HTTP/1.1 {answer}\r\n".encode())
        elif received.connection == upstream.received[0].connection and not kept:
            connection.sendall(PLAIN.encode())
        else:
            connection.sendall(reply(200, b"good"))
        return True

    upstream.answer = careless
    assert exchange(sidecar.address, head(token, "/first", method), method).complete
    assert exchange(sidecar.address, head(token, "/second")).body == b"good"
    first, second = upstream.take()
    assert (first.connection == second.connection) == kept
