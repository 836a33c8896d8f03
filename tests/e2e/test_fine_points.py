"""Fine points of HTTP that real clients and servers ran into."""

import email.utils
import json
import socket
import time
from pathlib import Path

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import exchange, read_all, read_response
from tests.support.tcp import wait_until_read
from tests.support.upstream import Upstream, echo, reply, saying
from tests.support.waiting import wait_until


def head(token: str, *extra: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} /x HTTP/{version}", "Host: a", f"Authorization: Bearer {token}", *extra, "", ""]
    return "\r\n".join(lines).encode("latin-1")


@pytest.mark.parametrize("space", [" ", "\t", " \t "])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_white_space_behind_a_value_of_the_api_is_no_part_of_it(
    sidecar: Sidecar, upstream: Upstream, token: str, space: str, framing: str
) -> None:
    """RFC 9112 section 5: neither what frames nor what is passed on."""
    field = f"Content-Length: 2{space}" if framing == "length" else f"Transfer-Encoding: chunked{space}"
    body = "ok" if framing == "length" else "2\r\nok\r\n0\r\nX-Sum: 1 \t\r\n\r\n"
    upstream.answer = saying(f"HTTP/1.1 200 OK\r\nX-A: b{space}\r\n{field}\r\n\r\n{body}".encode())
    for _ in range(3):
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(head(token, "Connection: close"))
            raw = read_all(connection)
        assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"X-A: b\r\n" in raw
        assert b" \r\n" not in raw
        assert b"\t\r\n" not in raw


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("dated", [False, True])
def test_an_answer_says_when_it_was_made(
    sidecar: Sidecar, upstream: Upstream, token: str, times: int, *, dated: bool
) -> None:
    """RFC 9110 section 6.6.1; also when the shape of the answer is known."""
    stamp = "Mon, 23 Nov 2026 10:00:00 GMT"
    upstream.answer = saying(reply(200, b"ok", *([f"Date: {stamp}"] if dated else [])))
    for _ in range(times):
        response = exchange(sidecar.address, head(token))
    (date,) = response.values("date")
    if dated:
        assert date == stamp
    else:
        assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


def test_426_names_what_it_wants(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(reply(426, b"no", "Upgrade: websocket", "Connection: Upgrade"))
    response = exchange(sidecar.address, head(token))
    assert (response.status, response.values("upgrade")) == (426, ["websocket"])
    assert "Upgrade" in response.values("connection")


def test_a_client_of_http_1_0_never_gets_a_100(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """Neither from the API nor from an endpoint of ours."""
    form = b"grant_type=client_credentials&client_id=reporting&client_secret=reporting-secret"
    more = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\nExpect: 100-continue\r\n\r\n"
    for target, auth in (("/oauth/token", ""), ("/x", f"Authorization: Bearer {token}\r\n")):
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(f"POST {target} HTTP/1.0\r\nHost: a\r\n{auth}{more}".encode())
            wait_until_read(connection)
            connection.sendall(form)
            raw = read_all(connection)
        assert raw.startswith(b"HTTP/1.1 200 "), raw
        assert b"100 Continue" not in raw


def test_a_mark_before_json_hides_no_token(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """RFC 8259 section 8.1."""
    upstream.answer = echo
    body = b"\xef\xbb\xbf" + json.dumps({"access_token": token, "a": 1}).encode()
    lines = f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert exchange(sidecar.address, lines.encode() + body, "POST").status == 200
    (received,) = upstream.take()
    assert received.body == b'\xef\xbb\xbf{ "a": 1}'


def test_an_empty_authorization_is_none(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    assert exchange(sidecar.address, head(token, "Authorization:")).status == 200
    (received,) = upstream.take()
    assert received.values("authorization") == []
    response = exchange(sidecar.address, b"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: \r\n\r\n")
    assert json.loads(response.body)["reason"] == "missing_token"


def test_behind_an_address_of_ipv6_a_client_of_ipv4_has_its_own(tmp_path: Path) -> None:
    """In what the API sees, in the log, and for `trusted_proxies`."""
    with Upstream() as upstream, running(tmp_path, upstream.url, listen="[::]:0") as sidecar:
        _, port = sidecar.address
        token = sidecar.token()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head(token))
            assert read_response(connection).status == 200
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_response(connection).status == 401
        assert upstream.take()[-1].values("x-forwarded-for") == ["127.0.0.1"]
        assert sidecar.record("request_refused")["peer"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), "http2_prior_knowledge"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), "tls_to_plain_port"),
        ("GET /caf\u00e9?q=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), "target_not_encoded"),
        ("GET /x?q=\u65e5\u672c HTTP/1.1\r\nHost: a\r\n\r\n".encode(), "target_not_encoded"),
    ],
)
def test_the_log_names_what_clients_are_known_to_get_wrong(
    sidecar: Sidecar, upstream: Upstream, data: bytes, cause: str
) -> None:
    response = exchange(sidecar.address, data)
    assert response.status == 400
    assert upstream.take() == []
    line = sidecar.record("request_refused", cause=cause)
    assert line["reason"] == "malformed_request"
    assert line["detail"].lower().rstrip(".") == json.loads(response.body)["error_description"].lower().rstrip(".")


def test_any_other_nonsense_has_no_cause(sidecar: Sidecar, upstream: Upstream) -> None:
    before = len(sidecar.records("request_refused"))
    assert exchange(sidecar.address, b"nonsense\r\n\r\n").status == 400
    wait_until(lambda: len(sidecar.records("request_refused")) > before)
    assert "cause" not in sidecar.records("request_refused")[-1]
