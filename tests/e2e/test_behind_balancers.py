"""The PROXY protocol: load balancers that only carry bytes say who their client is, and nobody else can."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.process import Sidecar, running
from tests.support.raw import exchange, read_all, read_response
from tests.support.upstream import Upstream, echo
from tests.support.waiting import wait_until
from tests.unit.core.http.test_proxy_protocol import binary

LINE = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
LISTEN = {"address": "127.0.0.1:0", "proxy_protocol": True}


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {"listen": LISTEN, "trusted_proxies": ["127.0.0.1"], "timeouts": {"request_header": "1s"}}


@pytest.fixture(scope="module")
def token(sidecar: Sidecar) -> str:
    body = b"grant_type=client_credentials&client_id=reporting&client_secret=reporting-secret"
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    response = exchange(sidecar.address, LINE + b"POST /oauth/token HTTP/1.1\r\nHost: a\r\n" + form + body)
    return str(json.loads(response.body)["access_token"])


def head(token: str, *extra: str) -> bytes:
    return "\r\n".join(["GET /x HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *extra, "", ""]).encode()


@pytest.mark.parametrize(
    ("preamble", "client"),
    [
        (LINE, "203.0.113.7"),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7"),
        (binary("2001:db8::7", extra=b"\x04\x00\x05hello"), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (binary("203.0.113.7", command=0), "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_the_client_is_whom_the_balancer_names(
    sidecar: Sidecar, upstream: Upstream, token: str, preamble: bytes, client: str, step: int
) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(preamble), step):
            connection.sendall(preamble[start : start + step] + (head(token) if start + step >= len(preamble) else b""))
        assert read_response(connection).status == 200
        connection.sendall(head(token, "X-Forwarded-For: 6.6.6.6"))  # one preamble for all of the connection
        assert read_response(connection).status == 200
    first, second = upstream.take()
    assert first.values("x-forwarded-for") == [client]
    believed = ["6.6.6.6, 127.0.0.1"] if client == "127.0.0.1" else [client]
    assert second.values("x-forwarded-for") == believed


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"PROXY TCP4 nobody 192.0.2.1 1 2\r\n",
        binary("203.0.113.7", transport=2),
        LINE.replace(b"\r\n", b"\n"),
        b"\x16\x03\x01",
    ],
)
def test_a_balancer_that_names_nobody_is_cut(sidecar: Sidecar, upstream: Upstream, token: str, first: bytes) -> None:
    refused = sidecar.metric("sidecar_requests_total", decision="refused")
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(first + head(token))
        assert read_all(connection) == b""
    assert upstream.take() == []
    assert sidecar.metric("sidecar_requests_total", decision="refused") == refused + 1  # not silently
    assert sidecar.record("request_refused", cause="no_preamble")["peer"] == "127.0.0.1"


def test_a_second_preamble_is_no_request(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    assert exchange(sidecar.address, LINE + LINE + head(token)).status == 400
    assert upstream.take() == []


def test_a_balancer_that_says_nothing_has_its_time(sidecar: Sidecar) -> None:
    for begin in (b"", b"PROXY TC", LINE[:-1]):
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(begin)
            begun = time.monotonic()
            assert read_all(connection) == b""
            assert time.monotonic() - begun > 0.5


def test_a_balancer_that_leaves_costs_nothing(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    for begin in (b"", b"PROXY TC", LINE):
        for _ in range(20):
            with socket.create_connection(sidecar.address, timeout=10) as connection:
                connection.sendall(begin)
    assert exchange(sidecar.address, LINE + head(token)).status == 200
    wait_until(lambda: sidecar.metric("sidecar_connections") == 0)


@pytest.fixture
def from_elsewhere(tmp_path: Path) -> Iterator[tuple[Sidecar, Upstream]]:
    with (
        Upstream(echo) as server,
        running(tmp_path, server.url, listen=LISTEN, trusted_proxies=["192.0.2.0/24"]) as process,
    ):
        yield process, server


def test_a_stranger_cannot_name_a_client(from_elsewhere: tuple[Sidecar, Upstream]) -> None:
    """Whoever is no trusted proxy speaks HTTP from the first byte."""
    sidecar, upstream = from_elsewhere
    token = sidecar.token()
    assert exchange(sidecar.address, head(token)).status == 200
    assert upstream.take()[0].values("x-forwarded-for") == ["127.0.0.1"]
    assert exchange(sidecar.address, LINE + head(token)).status == 400
    assert exchange(sidecar.address, binary("203.0.113.7") + head(token)).status == 400
    assert upstream.take() == []


def test_the_preamble_comes_before_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", "localhost")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    with (
        Upstream(echo) as upstream,
        running(tmp_path, upstream.url, listen=LISTEN, trusted_proxies=["127.0.0.1"], tls=tls) as sidecar,
    ):
        context: ssl.SSLContext = authority.trusting()
        for preamble in (LINE, binary("203.0.113.7")):
            with socket.create_connection(sidecar.address, timeout=10) as plain:
                plain.sendall(preamble)
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                    connection.sendall(head("none"))
                    assert read_response(connection).status == 401
        wait_until(lambda: len(sidecar.records("request_refused")) == 2)
        assert {record["peer"] for record in sidecar.records("request_refused")} == {"203.0.113.7"}
