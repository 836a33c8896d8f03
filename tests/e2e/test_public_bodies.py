"""A token of ours in the body of a public request does not reach the API; every other body goes on as it was sent."""

import contextlib
import json
import select
import socket
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import Response, exchange, read_response
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {"routes": [{"path": "/public/**", "access": "public"}]}


def post(sidecar: Sidecar, body: bytes, kind: str, *lines: str, target: str = "/public/x") -> Response:
    head = [f"POST {target} HTTP/1.1", "Host: a", f"Content-Type: {kind}", *lines]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return exchange(sidecar.address, "\r\n".join([*head, "", ""]).encode() + body, "POST")


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; charset=utf-8", FORM.upper()])
def test_it_is_cut_from_a_form(sidecar: Sidecar, upstream: Upstream, token: str, kind: str) -> None:
    for body in (f"a=%20&access_token={token}&b=2", f"access%5ftoken={token}&a=%20&b=2"):
        assert post(sidecar, body.encode(), kind).status == 200
        (received,) = upstream.take()
        assert received.body == b"a=%20&b=2"
        assert received.values("content-length") == ["9"]
        assert received.values("x-auth-client-id") == []


@pytest.mark.parametrize("kind", [JSON, "application/problem+json"])
def test_it_is_cut_from_json(sidecar: Sidecar, upstream: Upstream, token: str, kind: str) -> None:
    for name in ("access_token", r"\u0061ccess_token"):
        body = f'{{"a": 1, "{name}": "{token}", "b": [ ]}}'
        assert post(sidecar, body.encode(), kind).status == 200
        (received,) = upstream.take()
        assert received.body == b'{"a": 1, "b": [ ]}'


def test_wherever_else_a_token_stands(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    bearer, body = f"Authorization: Bearer {token}", f"a=1&access_token={token}".encode()
    assert post(sidecar, body, FORM, bearer, target=f"/public/x?access_token={token}").status == 200
    assert post(sidecar, body, FORM, "Authorization: Bearer the-apis-own").status == 200
    first, second = upstream.take()
    assert token.encode() not in first.raw + second.raw
    assert first.target == "/public/x"
    assert second.values("authorization") == ["Bearer the-apis-own"]


def test_one_that_has_expired_or_is_revoked_is_still_ours(
    tmp_path: Path, upstream: Upstream, sections: dict[str, object]
) -> None:
    with running(tmp_path, upstream.url, **sections) as sidecar:
        token = sidecar.token()
        form = {"token": token, "client_id": "reporting", "client_secret": "reporting-secret"}
        assert post(sidecar, urlencode(form).encode(), FORM, target="/oauth/revoke").status == 200
        assert post(sidecar, f"access_token={token}".encode(), FORM).status == 200
        assert upstream.take()[0].body == b""


CHUNKED = "Transfer-Encoding: chunked"
BODIES = {
    "a form": (b"a=1&&b=%zz&c=+", FORM),
    "a token of the API's own": (b"a=1&access_token=the-apis-own&b", FORM),
    "an empty token": (b"access_token=&a=1", FORM),
    "JSON": (b'{"a" :1,\n"access_tokens": [] }', JSON),
    "JSON with a token of the API's own": (b'{"access_token": "x.y.z", "a": 1}', JSON),
    "JSON that is none": (b'{"access_token": ', JSON),
    "many members": (json.dumps({str(number): number for number in range(3000)}).encode(), JSON),
    "another encoding": ('{"a": "ä"}'.encode("utf-16"), JSON),
    "bytes": (bytes(range(256)), "application/octet-stream"),
    "a large form": (b"a=" + b"x" * 300_000, FORM),
    "a form of just too much": (b"a=" + b"x" * (64 * 1024 - 1), FORM),
    "a form of just as much": (b"a=" + b"x" * (64 * 1024 - 2), FORM),
    "nothing": (b"", FORM),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("case", BODIES)
def test_every_other_body_goes_on_as_it_was_sent(
    sidecar: Sidecar, upstream: Upstream, case: str, *, chunked: bool
) -> None:
    body, kind = BODIES[case]
    if chunked:
        sent = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        assert post(sidecar, sent, kind, CHUNKED).status == 200
    else:
        assert post(sidecar, body, kind).status == 200
    assert upstream.take()[0].body == body


def test_one_chunk_with_the_head_is_looked_through_too(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    body = f"a=1&access_token={token}".encode()
    assert post(sidecar, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), FORM, CHUNKED).status == 200
    assert upstream.take()[0].body == b"a=1"


def test_too_many_members_and_perhaps_a_token_is_400(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    body = json.dumps({str(number): 0 for number in range(1001)} | {"access_token": token}).encode()
    assert json.loads(post(sidecar, body, JSON).body)["reason"] == "malformed_request"
    assert upstream.take() == []


def test_a_stream_is_not_waited_for(sidecar: Sidecar, upstream: Upstream) -> None:
    """Neither a chunked one nor one that is larger than what is looked through: the API has its head at once."""
    for framing in (CHUNKED, "Content-Length: 65537"):
        upstream.early = True
        try:
            head = f"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\n{framing}\r\n\r\n"
            with socket.create_connection(sidecar.address, timeout=15) as connection:
                connection.sendall(head.encode())
                wait_until(lambda: len(upstream.received) == 1)
                assert read_response(connection, "POST").status == 200
        finally:
            upstream.early = False
        upstream.take()


def test_a_client_that_waits_for_100_gets_it_from_the_api(sidecar: Sidecar, upstream: Upstream) -> None:
    lines = f"Content-Type: {FORM}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=15) as connection:
        connection.sendall(f"POST /public/x HTTP/1.1\r\nHost: a\r\n{lines}".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"a=1")
        assert read_response(connection, "POST").status == 200
    (received,) = upstream.take()
    assert (received.body, received.values("expect")) == (b"a=1", ["100-continue"])


def test_a_body_that_does_not_come_ends_in_408(tmp_path: Path, upstream: Upstream, sections: dict[str, object]) -> None:
    """As on every other route where the sidecar reads one."""
    with running(tmp_path, upstream.url, timeouts={"request_header": "500ms"}, **sections) as sidecar:
        head = f"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\na="
        with socket.create_connection(sidecar.address, timeout=15) as connection:
            connection.sendall(head.encode())
            response = read_response(connection, "POST")
        assert (response.status, json.loads(response.body)["reason"]) == (408, "request_timeout")
    assert upstream.take() == []


def test_no_more_may_wait_than_be_answered(tmp_path: Path, upstream: Upstream, sections: dict[str, object]) -> None:
    with running(tmp_path, upstream.url, limits={"in_flight": 2}, **sections) as sidecar:
        head = f"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\na="
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(socket.create_connection(sidecar.address, timeout=15)) for _ in range(3)]
            for connection in connections:
                connection.sendall(head.encode())
            (refused,), _, _ = select.select(connections, [], [], 15)
            assert json.loads(read_response(refused, "POST").body)["reason"] == "overloaded"
            assert exchange(sidecar.address, b"GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
            for connection in connections:
                if connection is not refused:
                    connection.sendall(b"xxxxxxx")
                    assert read_response(connection, "POST").status == 200
    assert [received.method for received in upstream.take()] == ["GET", "POST", "POST"]


def test_a_client_that_leaves_while_it_is_waited_for_leaves_nothing(sidecar: Sidecar, upstream: Upstream) -> None:
    head = f"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\na="
    for _ in range(20):
        with socket.create_connection(sidecar.address, timeout=15) as connection:
            connection.sendall(head.encode())
    wait_until(lambda: sidecar.metric("sidecar_connections") == 0)
    assert sidecar.metric("sidecar_in_flight_requests") == 0
    assert upstream.take() == []
    assert not sidecar.records("internal_error")
