"""A refusal names the client in the log when the signature was good, and nobody when it was not."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.process import ISSUER, KEY, KID, SECRET, Sidecar, get, running
from tests.support.raw import read_response
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    routes = [
        {"path": "/closed", "access": "deny"},
        {"path": "/more", "scope": "never"},
        {"path": "/x", "scope": "orders:read"},
    ]
    with (
        Upstream() as upstream,
        running(tmp_path_factory.mktemp("who"), upstream.url, routes=routes, tokens=lasting("30m")) as sidecar,
    ):
        yield sidecar


def lasting(ttl: str) -> dict[str, Any]:
    key = {"kid": KID, "alg": "HS256", "secret": KEY}
    return {"issuer": ISSUER, "audience": "api", "access_token_ttl": ttl, "signing_keys": [key]}


def named(sidecar: Sidecar, path: str, token: str, reason: str) -> list[object]:
    """Whom the log names for this request and for its repetition on the same connection."""
    before = len(sidecar.records("request_refused"))
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        for _ in range(2):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert read_response(connection).status in (401, 403)
    wait_until(lambda: len(sidecar.records("request_refused")) == before + 2)
    records = sidecar.records("request_refused")[before:]
    assert {record["reason"] for record in records} == {reason}
    return [record.get("client_id") for record in records]


@pytest.mark.parametrize(("path", "reason"), [("/closed", "denied_by_route"), ("/more", "insufficient_scope")])
def test_a_good_token_says_whose_it_is(place: Sidecar, path: str, reason: str) -> None:
    assert named(place, path, place.token(), reason) == ["reporting"] * 2


def test_a_revoked_token_says_whose_it_was(place: Sidecar) -> None:
    token = place.token()
    get(f"{place.public}/oauth/revoke", {"client_id": "reporting", "client_secret": SECRET, "token": token})
    assert named(place, "/x", token, "revoked") == ["reporting"] * 2
    assert named(place, "/closed", token, "denied_by_route") == ["reporting"] * 2


def test_an_expired_token_says_whose_it_was(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        Upstream() as upstream,
        running(tmp_path_factory.mktemp("short"), upstream.url, tokens=lasting("1s")) as sidecar,
    ):
        token = sidecar.token()
        wait_until(lambda: get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0] == 401)
        wait_until(lambda: any(record["reason"] == "expired" for record in sidecar.records("request_refused")))
        assert named(sidecar, "/x", token, "expired") == ["reporting"] * 2


@pytest.mark.parametrize("path", ["/x", "/closed"])
def test_a_forged_token_names_nobody(place: Sidecar, path: str) -> None:
    head, payload, signature = place.token().split(".")
    forged = f"{head}.{payload}.{signature[:-6]}AAAAAA"
    reason = "bad_signature" if path == "/x" else "denied_by_route"
    assert named(place, path, forged, reason) == [None] * 2
