"""`upstream.host`, `upstream.max_age`, and what the API says about how long it keeps a connection."""

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.support.process import running
from tests.support.raw import exchange, read_response
from tests.support.upstream import Upstream, reply, saying
from tests.support.waiting import wait_until

TARGETS = ["/x", "/x?a=b", "http://named.example/x"]


def head(token: str, target: str = "/x", *extra: str, version: str = "1.1") -> bytes:
    lines = [f"GET {target} HTTP/{version}", *extra, f"Authorization: Bearer {token}", "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("host", ["upstream", "api.internal:81", "keep"])
def test_the_api_gets_the_host_that_is_configured(tmp_path: Path, host: str) -> None:
    public = {"path": "/public/**", "access": "public"}
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "host": host}, routes=[public]) as sidecar:
        token = sidecar.token()
        expected = {"upstream": upstream.url.removeprefix("http://"), "keep": "front.example"}.get(host, host)
        for target in ("/x", "/x", "/x?a=b", "/public/x"):
            assert exchange(sidecar.address, head(token, target, "Host: front.example")).status == 200
        for received in upstream.take():
            assert received.values("host") == [expected]
            assert received.values("x-forwarded-host") == ["front.example"]
        named = "named.example" if host == "keep" else expected
        assert exchange(sidecar.address, head(token, "http://named.example/x", "Host: front.example")).status == 200
        assert exchange(sidecar.address, head(token, version="1.0")).status == 200
        absolute, old = upstream.take()
        assert (absolute.values("host"), absolute.values("x-forwarded-host")) == ([named], ["named.example"])
        assert old.values("host") == [upstream.url.removeprefix("http://") if host == "keep" else expected]


def test_each_of_several_servers_gets_its_own_name(tmp_path: Path) -> None:
    """Also when a request goes to another one, since its connection turned out dead or could not be opened."""
    with Upstream() as one, Upstream() as two, socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        closed.close()
        upstream = {"url": [dead, one.url, two.url], "host": "upstream"}
        with running(tmp_path, upstream) as sidecar, contextlib.ExitStack() as stack:
            token = sidecar.token()
            connections = []
            for _ in range(6):
                connection = stack.enter_context(socket.create_connection(sidecar.address, timeout=10))
                connections.append(connection)
            for connection in connections:
                connection.sendall(head(token, "/x", "Host: front.example"))
            assert [read_response(connection).status for connection in connections] == [200] * 6
            for server in (one, two):
                assert {value for received in server.take() for value in received.values("host")} == {server.url[7:]}


def test_a_connection_that_is_too_old_carries_nothing_more(tmp_path: Path) -> None:
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "max_age": "300ms"}) as sidecar:
        token = sidecar.token()
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            deadline = time.monotonic() + 20
            while upstream.connections < 3:  # though it is never idle for long
                assert time.monotonic() < deadline
                connection.sendall(head(token, "/x", "Host: a"))
                assert read_response(connection).status == 200
        requests = upstream.take()
        assert len(requests) > 3
        wait_until(lambda: upstream.closed >= upstream.connections - 1)


@pytest.mark.parametrize("fields", [["Keep-Alive: timeout=1"], ["Keep-Alive: timeout=1, max=99"]])
def test_the_api_says_for_how_long_it_keeps_a_connection(tmp_path: Path, fields: list[str]) -> None:
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "idle": "1h"}) as sidecar:
        token = sidecar.token()
        for _ in range(4):  # by the parser, and by the shape that it has learnt
            upstream.answer = saying(reply(200, b"ok", *fields))
            answer = exchange(sidecar.address, head(token, "/x", "Host: a"))
            assert (answer.status, answer.values("keep-alive")) == (200, [])
        wait_until(lambda: upstream.closed == upstream.connections, within=10)


def test_an_api_that_keeps_connections_for_longer_changes_nothing(tmp_path: Path) -> None:
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "idle": "300ms"}) as sidecar:
        upstream.answer = saying(reply(200, b"ok", "Keep-Alive: timeout=3600"))
        assert exchange(sidecar.address, head(sidecar.token(), "/x", "Host: a")).status == 200
        wait_until(lambda: upstream.closed == upstream.connections, within=10)


def test_a_timeout_of_zero_keeps_no_connection(tmp_path: Path) -> None:
    with Upstream() as upstream, running(tmp_path, {"url": upstream.url, "idle": "1h"}) as sidecar:
        token = sidecar.token()
        upstream.answer = saying(reply(200, b"ok", "Keep-Alive: timeout=0"))
        for _ in range(3):
            assert exchange(sidecar.address, head(token, "/x", "Host: a")).status == 200
        wait_until(lambda: upstream.closed == upstream.connections, within=10)
