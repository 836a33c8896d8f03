"""An upstream that breaks a rule of HTTP, or merely takes a liberty: it costs its own exchange, never another one."""

import socket
from pathlib import Path

from tests.support.holding import Holding, held
from tests.support.process import running
from tests.support.raw import read_response
from tests.support.upstream import Received, Upstream
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
