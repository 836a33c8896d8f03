"""A refusal names the client in the log when the signature was good, and the user if there is one; nobody when it was not."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.tokens import TokenRules
from tests.support.process import AUDIENCE, ISSUER, KEY, KID, SECRET, Sidecar, get, running
from tests.support.raw import read_all, read_response
from tests.support.upstream import Received, Upstream, echo
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


# Tokens of a user, on every way on which they come.

RULES = TokenRules(
    issuer=ISSUER,
    audience=AUDIENCE,
    access_token_ttl=600,
    leeway=0,
    ring=KeyRing([SigningKey.hmac(KID, "HS256", KEY)]),
)
AGES = {"expired": -3600.0, "not_yet_valid": 3600.0}


def token_of(subject: str, jti: str, age: float = 0.0) -> str:
    issued = time.time() + age
    return RULES.issue(client_id="reporting", subject=subject, roles=(), scope=("orders:read",), now=issued, jti=jti)[0]


def head(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def with_body(path: str, kind: str, body: str) -> bytes:
    return head(path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", method="POST") + body.encode()


WAYS: dict[str, Callable[[str, str], bytes]] = {
    "Bearer": lambda path, token: head(path, f"Authorization: Bearer {token}"),
    "header": lambda path, token: head(path, f"access_token: {token}"),
    "query": lambda path, token: head(f"{path}?access_token={token}"),
    "form": lambda path, token: with_body(path, "application/x-www-form-urlencoded", f"a=1&access_token={token}"),
    "JSON": lambda path, token: with_body(path, "application/json", json.dumps({"access_token": token, "a": 1})),
}
PATHS = {"denied_by_route": "/closed", "insufficient_scope": "/more"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("subject", ["anna", "reporting"])
@pytest.mark.parametrize("reason", ["denied_by_route", "insufficient_scope", "revoked", "expired", "not_yet_valid"])
def test_a_refusal_names_client_and_user_wherever_the_token_stood(
    place: Sidecar, way: str, subject: str, reason: str
) -> None:
    """Also when the same head comes again on a connection, and when it was admitted there before."""
    token = token_of(subject, f"{way}-{subject}-{reason}", AGES.get(reason, 0.0))
    request = WAYS[way](PATHS.get(reason, "/x"), token)
    before = len(place.records("request_refused"))
    with socket.create_connection(place.address, timeout=10) as connection:
        if reason == "revoked":
            connection.sendall(request)
            assert read_response(connection).status == 200
            get(f"{place.public}/oauth/revoke", {"client_id": "reporting", "client_secret": SECRET, "token": token})
        for _ in range(2):
            connection.sendall(request)
            assert read_response(connection).status in (401, 403)
    wait_until(lambda: len(place.records("request_refused")) == before + 2)
    user = {"user": "anna"} if subject == "anna" else {}
    for record in place.records("request_refused")[before:]:
        assert (record["reason"], record["client_id"]) == (reason, "reporting")
        assert {name: record[name] for name in record if name == "user"} == user


def test_a_closed_route_waits_for_no_body(place: Sidecar) -> None:
    """It names whose token came along with the head, and answers at once when there is more to come."""
    token = token_of("anna", "late")
    request = WAYS["form"]("/closed", token)
    before = len(place.records("request_refused"))
    with socket.create_connection(place.address, timeout=10) as connection:
        connection.sendall(request[:-1])
        assert read_response(connection).status == 403
    wait_until(lambda: len(place.records("request_refused")) == before + 1)
    assert "user" not in place.records("request_refused")[before]
    forged = WAYS["form"]("/closed", token[:-6] + "AAAAAA")
    two = with_body("/closed", "application/x-www-form-urlencoded", f"access_token={token}&access_token=x")
    for number, each in enumerate((forged, two), start=2):
        with socket.create_connection(place.address, timeout=10) as connection:
            connection.sendall(each)
            assert read_response(connection).status == 403
        wait_until(lambda count=number: len(place.records("request_refused")) == before + count)  # type: ignore[misc]
        assert not {"client_id", "user"} & place.records("request_refused")[-1].keys()


@pytest.mark.parametrize("reason", ["revoked", "expired"])
def test_a_stream_that_lapses_names_whose_it_was(tmp_path_factory: pytest.TempPathFactory, reason: str) -> None:
    def events(received: Received, connection: socket.socket) -> bool:
        if received.target != "/events":
            return echo(received, connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n")
        connection.settimeout(20)
        return bool(connection.recv(1))

    with Upstream(events) as upstream, running(tmp_path_factory.mktemp("stream"), upstream.url) as sidecar:
        token = token_of("anna", "stream", 5 - 600 if reason == "expired" else 0)
        with socket.create_connection(sidecar.address, timeout=20) as connection:
            connection.sendall(head("/events", f"Authorization: Bearer {token}"))
            seen = b""
            while b"data: 1" not in seen:
                part = connection.recv(1000)
                assert part, seen
                seen += part
            if reason == "revoked":
                form = {"client_id": "reporting", "client_secret": SECRET, "token": token}
                assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
            read_all(connection, 20)
        wait_until(lambda: any(f'"reason": "{reason}"' in line for line in sidecar.logs))
        (line,) = [line for line in sidecar.logs if f'"reason": "{reason}"' in line]
        record = json.loads(line)
        assert (record["path"], record["client_id"], record["user"]) == ("/events", "reporting", "anna")


def test_an_admitted_request_names_the_user_when_it_is_logged(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("admitted")
    with Upstream() as upstream, running(folder, upstream.url, logging={"admitted": "info"}) as sidecar:
        for subject in ("anna", "reporting"):
            assert get(f"{sidecar.public}/{subject}", Authorization=f"Bearer {token_of(subject, subject)}")[0] == 200
        for subject, user in (("anna", "anna"), ("reporting", None)):
            record = sidecar.record("request_admitted", path=f"/{subject}")
            assert (record["client_id"], record.get("user")) == ("reporting", user)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ("X-Request-Id: abc-1", "abc-1"),
        ("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("X-Request-Id:abc-2\r\nTransfer-Encoding: chunked", "abc-2"),  # a head that only the parser reads
        ("X-Request-Id: two words", None),
        (f"X-Request-Id: eyJ{'a' * 30}.{'b' * 30}.{'c' * 30}", "[token]"),
        ("Accept: */*", None),
    ],
)
def test_a_refusal_has_the_id_that_the_request_had(place: Sidecar, fields: str, shown: str | None) -> None:
    before = len(place.records("request_refused"))
    end = "0\r\n\r\n" if "chunked" in fields else ""
    with socket.create_connection(place.address, timeout=10) as connection:
        connection.sendall(f"POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{end}".encode())
        assert read_response(connection).status == 401
    wait_until(lambda: len(place.records("request_refused")) == before + 1)
    assert place.records("request_refused")[before].get("request_id") == shown
