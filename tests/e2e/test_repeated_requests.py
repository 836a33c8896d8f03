"""A connection that repeats its head is decided about anew each time, whatever was remembered of it."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import SECRET, Sidecar, get, running
from tests.support.raw import Response, read_response
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "routes": [
            {"path": "/open/**", "access": "public"},
            {"path": "/shut/**", "access": "deny"},
            {"path": "/write/**", "scope": "orders:write"},
        ]
    }


@pytest.fixture
def line(sidecar: Sidecar) -> Iterator[socket.socket]:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        yield connection


def ask(connection: socket.socket, target: str, *fields: str, method: str = "GET") -> Response:
    connection.sendall("\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode())
    return read_response(connection, method)


def outcome(response: Response) -> object:
    return response.status if response.status < 400 else json.loads(response.body)["reason"]


def test_a_token_in_the_query_admits_no_other_request(
    line: socket.socket, upstream: Upstream, token: str, sidecar: Sidecar
) -> None:
    other = sidecar.token("other", "other-secret")
    for _ in range(3):
        assert outcome(ask(line, "/a")) == "missing_token"
        assert outcome(ask(line, "/a")) == "missing_token"
        assert outcome(ask(line, f"/a?access_token={token}")) == 200
        assert outcome(ask(line, "/a")) == "missing_token"
        assert outcome(ask(line, f"/a?access_token={other}")) == 200
        assert outcome(ask(line, "/a?x=1")) == "missing_token"
    assert [received.values("x-auth-client-id")[0] for received in upstream.take()] == ["reporting", "other"] * 3


def test_a_bad_token_in_the_query_refuses_no_other_request(line: socket.socket, token: str) -> None:
    bearer = f"Authorization: Bearer {token}"
    for _ in range(3):
        assert outcome(ask(line, "/a?access_token=bad.bad.bad", bearer)) == "multiple_tokens"
        break
    with socket.create_connection(line.getpeername(), timeout=10) as connection:
        for _ in range(3):
            assert outcome(ask(connection, "/a?access_token=bad.bad.bad")) == "malformed_token"
            assert outcome(ask(connection, "/a")) == "missing_token"
            assert outcome(ask(connection, "/a", bearer)) == 200


def test_each_head_speaks_for_itself(line: socket.socket, token: str) -> None:
    good, bad = f"Authorization: Bearer {token}", f"Authorization: Bearer {token[:-4]}AAAA"
    for _ in range(2):
        for _ in range(3):
            assert outcome(ask(line, "/a", good)) == 200
        for _ in range(3):
            assert outcome(ask(line, "/a", bad)) == "bad_signature"
        for _ in range(3):
            assert outcome(ask(line, "/a")) == "missing_token"


def test_each_route_decides(line: socket.socket, sidecar: Sidecar) -> None:
    bearer = f"Authorization: Bearer {sidecar.token('other', 'other-secret')}"
    for _ in range(3):
        assert outcome(ask(line, "/a", bearer)) == 200
        assert outcome(ask(line, "/write/a", bearer)) == "insufficient_scope"
        assert outcome(ask(line, "/shut/a", bearer)) == "denied_by_route"
        assert outcome(ask(line, "/open/a", bearer)) == 200
        assert outcome(ask(line, "/a", bearer, method="OPTIONS")) == 200
    for _ in range(3):
        assert outcome(ask(line, "/a")) == "missing_token"
        assert outcome(ask(line, "/open/a")) == 200
        assert outcome(ask(line, "/shut/a")) == "denied_by_route"


def test_a_public_route_shows_no_identity(line: socket.socket, upstream: Upstream, token: str) -> None:
    bearer = f"Authorization: Bearer {token}"
    for _ in range(3):
        assert outcome(ask(line, "/a", bearer)) == 200
        assert outcome(ask(line, "/open/a", bearer)) == 200
    assert [len(received.values("x-auth-client-id")) for received in upstream.take()] == [1, 0] * 3


def test_revocation_is_seen_by_the_next_request(line: socket.socket, sidecar: Sidecar) -> None:
    token = sidecar.token()
    for _ in range(3):
        assert outcome(ask(line, "/a", f"Authorization: Bearer {token}")) == 200
    form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
    assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
    for _ in range(3):
        assert outcome(ask(line, "/a", f"Authorization: Bearer {token}")) == "revoked"


def test_the_end_of_a_token_is_seen_by_the_next_request(tmp_path: Path, upstream: Upstream) -> None:
    tokens = {
        "issuer": "https://issuer.example",
        "audience": "api",
        "access_token_ttl": "2s",
        "signing_keys": [{"kid": "k1", "alg": "HS256", "secret": "0123456789abcdef0123456789abcdef"}],
    }
    with running(tmp_path, upstream.url, tokens=tokens) as sidecar:
        bearer = f"Authorization: Bearer {sidecar.token()}"
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            assert outcome(ask(connection, "/a", bearer)) == 200
            deadline = time.monotonic() + 10
            while (found := outcome(ask(connection, "/a", bearer))) == 200:
                assert time.monotonic() < deadline
            assert found == "expired"
            assert outcome(ask(connection, "/a", bearer)) == "expired"
