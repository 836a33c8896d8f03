"""The main job over real sockets: a token in, an admitted request through, a revoked one refused."""

import base64
import json
import socket
from urllib.parse import quote

import pytest

from tests.support.process import SECRET, Sidecar, get
from tests.support.raw import exchange
from tests.support.upstream import Upstream, reply, saying


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "routes": [
            {"path": "/health", "access": "public"},
            {"path": "/closed/**", "access": "deny"},
            {"path": "/orders/**", "methods": ["GET"], "scope": "orders:read"},
            {"path": "/orders/**", "methods": ["POST"], "scope": "orders:write"},
        ]
    }


def send(sidecar: Sidecar, target: str, *lines: str, method: str = "GET", body: bytes = b""):
    length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: api.example", *lines, *length, "", ""])
    return exchange(sidecar.address, head.encode("latin-1") + body, method)


def test_a_request_without_a_token_is_refused_and_never_forwarded(sidecar: Sidecar, upstream: Upstream) -> None:
    response = send(sidecar, "/orders")
    assert response.status == 401
    assert response.values("www-authenticate") == ['Bearer realm="https://issuer.example"']
    assert json.loads(response.body) == {
        "error": "invalid_token",
        "error_description": "No access token was sent.",
        "reason": "missing_token",
        "code": 401,
    }
    assert upstream.take() == []


def test_the_token_endpoint_answers_as_rfc_6749_says(sidecar: Sidecar) -> None:
    form = f"grant_type=client_credentials&client_id=reporting&client_secret={SECRET}".encode()
    response = send(
        sidecar, "/oauth/token", "Content-Type: application/x-www-form-urlencoded", method="POST", body=form
    )
    answer = json.loads(response.body)
    assert response.status == 200
    assert response.values("cache-control") == ["no-store"]
    assert response.values("content-type") == ["application/json"]
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 1800, "orders:read orders:write")


def test_json_and_basic_are_taken_too(sidecar: Sidecar) -> None:
    basic = base64.b64encode(f"reporting:{SECRET}".encode()).decode()
    body = json.dumps({"grant_type": "client_credentials", "scope": "orders:read"}).encode()
    response = send(
        sidecar,
        "/oauth/token",
        "Content-Type: application/json",
        f"Authorization: Basic {basic}",
        method="POST",
        body=body,
    )
    assert response.status == 200
    assert json.loads(response.body)["scope"] == "orders:read"


PLACES = {
    "bearer": lambda t: (["Authorization: Bearer " + t], "/orders", b""),
    "bearer, two spaces": lambda t: (["Authorization: Bearer  " + t], "/orders", b""),
    "bearer, other case": lambda t: (["authorization: bEARER " + t], "/orders", b""),
    "header": lambda t: (["access_token: " + t], "/orders", b""),
    "query": lambda t: ([], "/orders?a=%20&access_token=" + t + "&b=2", b""),
    "escaped query": lambda t: ([], "/orders?a=%20&access%5Ftoken=" + quote(t) + "&b=2", b""),
    "form": lambda t: (
        ["Content-Type: application/x-www-form-urlencoded; charset=utf-8"],
        "/orders",
        f"a=%20&access_token={t}&b=2".encode(),
    ),
    "json": lambda t: (
        ["Content-Type: application/json"],
        "/orders",
        b'{"a":1, "access_token":"%b" , "b":2}' % t.encode(),
    ),
    "the same twice": lambda t: (["Authorization: Bearer " + t], "/orders?access_token=" + t, b""),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_token_is_found_in_each_place_and_does_not_go_on(
    sidecar: Sidecar, upstream: Upstream, token: str, place: str
) -> None:
    lines, target, body = PLACES[place](token)
    response = send(sidecar, target, *lines, method="POST" if body else "GET", body=body)
    assert response.status == 200
    (received,) = upstream.take()
    assert token.encode() not in received.raw
    assert b"access" not in received.raw.lower().replace(b"x-auth", b"")
    assert received.values("x-auth-client-id") == ["reporting"]
    assert received.values("x-auth-subject") == ["reporting"]
    assert received.values("x-auth-scope") == ["orders:read orders:write"]
    assert received.values("x-auth-roles") == ["analyst"]
    assert received.values("authorization") == []
    if "query" in place:
        assert received.target == "/orders?a=%20&b=2"
    if place == "form":
        assert received.body == b"a=%20&b=2"
    if place == "json":
        assert json.loads(received.body) == {"a": 1, "b": 2}


def test_a_body_without_a_token_is_refused(sidecar: Sidecar, upstream: Upstream) -> None:
    response = send(sidecar, "/orders", "Content-Type: application/json", method="POST", body=b'{"a":1}')
    assert json.loads(response.body)["reason"] == "missing_token"
    assert upstream.take() == []


def test_a_body_with_too_many_fields_to_look_through_is_400(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    body = json.dumps({str(number): 0 for number in range(1001)} | {"access_token": token}).encode()
    response = send(sidecar, "/orders", "Content-Type: application/json", method="POST", body=body)
    assert (response.status, json.loads(response.body)["reason"]) == (400, "malformed_request")
    assert upstream.take() == []


def test_different_tokens_in_two_places_are_refused(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    response = send(sidecar, "/orders?access_token=" + sidecar.token(), "Authorization: Bearer " + token)
    assert (response.status, json.loads(response.body)["reason"]) == (400, "multiple_tokens")
    assert upstream.take() == []


@pytest.mark.parametrize(
    ("line", "target", "status", "word"),
    [
        ("Authorization: Bearer\t{token}", "/orders", 400, "malformed_request"),
        ("Authorization: Bearer\t{token}", "/orders?access_token={token}", 400, "malformed_request"),
        ("Authorization: Bearer\t{token}", "/health", 400, "malformed_request"),
        ("Authorization: Bearer", "/orders?access_token={token}", 400, "multiple_tokens"),
        ("Authorization: Bearer", "/orders", 401, "malformed_token"),
        ("Authorization: Bearer {token} {token}", "/orders", 401, "malformed_token"),
    ],
)
def test_a_doubtful_bearer_is_refused_and_does_not_go_on(
    sidecar: Sidecar, upstream: Upstream, token: str, line: str, target: str, status: int, word: str
) -> None:
    response = send(sidecar, target.format(token=token), line.format(token=token))
    assert (response.status, json.loads(response.body)["reason"]) == (status, word)
    assert upstream.take() == []


def test_a_scope_that_is_missing_is_403(sidecar: Sidecar, upstream: Upstream) -> None:
    narrow = sidecar.token(scope="orders:read")
    form = "Content-Type: text/plain"
    assert send(sidecar, "/orders/1", f"Authorization: Bearer {narrow}").status == 200
    upstream.take()
    response = send(sidecar, "/orders/1", f"Authorization: Bearer {narrow}", form, method="POST", body=b"x")
    assert (response.status, json.loads(response.body)["error"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in response.values("www-authenticate")[0]
    assert upstream.take() == []


def test_a_closed_route_is_403_and_a_public_one_open(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    assert send(sidecar, "/closed/x", f"Authorization: Bearer {token}").status == 403
    assert upstream.take() == []
    assert send(sidecar, "/health", "X-Auth-Client-Id: forged").status == 200
    (received,) = upstream.take()
    assert received.values("x-auth-client-id") == []


@pytest.mark.parametrize("status", [200, 201, 204, 302, 304, 404, 409, 418, 500, 503])
def test_what_the_api_answers_passes_through(sidecar: Sidecar, upstream: Upstream, token: str, status: int) -> None:
    body = b"" if status in (204, 304) else b"the body"
    head = f"HTTP/1.1 {status} My Reason\r\nX-B: 1\r\nx-a: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    length = "" if status in (204, 304) else f"Content-Length: {len(body)}\r\n"
    upstream.answer = saying((head + length + "\r\n").encode() + body)
    response = send(sidecar, "/orders", f"Authorization: Bearer {token}")
    assert (response.status, response.body) == (status, body)
    assert [name for name, _ in response.headers[:4]] == ["X-B", "x-a", "Set-Cookie", "Set-Cookie"]


def test_revocation_takes_effect_at_once_and_is_counted(sidecar: Sidecar, upstream: Upstream) -> None:
    token = sidecar.token()
    assert send(sidecar, "/orders", f"Authorization: Bearer {token}").status == 200
    before = sidecar.metric("sidecar_auth_failures_total", plane="protected", reason="revoked")
    client = {"client_id": "reporting", "client_secret": SECRET}
    assert get(f"{sidecar.public}/oauth/revoke", {"token": token, **client}) == (200, "")
    upstream.take()
    response = send(sidecar, "/orders", f"Authorization: Bearer {token}")
    assert (response.status, json.loads(response.body)["reason"]) == (401, "revoked")
    assert upstream.take() == []
    assert sidecar.metric("sidecar_auth_failures_total", plane="protected", reason="revoked") == before + 1
    assert sidecar.metric("sidecar_tokens_revoked_total") >= 1
    assert sidecar.metric("sidecar_tokens_issued_total", grant_type="client_credentials") >= 1


def test_a_client_cannot_revoke_what_is_not_its_own(sidecar: Sidecar, token: str) -> None:
    other = {"client_id": "other", "client_secret": "other-secret"}
    status, body = get(f"{sidecar.public}/oauth/revoke", {"token": token, **other})
    assert (status, json.loads(body)["error"]) == (400, "invalid_grant")
    assert send(sidecar, "/orders", f"Authorization: Bearer {token}").status == 200


def test_a_wrong_secret_and_an_unknown_client_read_the_same(sidecar: Sidecar) -> None:
    form = {"grant_type": "client_credentials", "client_secret": "wrong"}
    answers = [get(f"{sidecar.public}/oauth/token", {**form, "client_id": name}) for name in ("reporting", "nobody")]
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert sidecar.metric("sidecar_auth_failures_total", plane="token", reason="bad_client_secret") >= 1
    assert sidecar.metric("sidecar_auth_failures_total", plane="token", reason="unknown_client") >= 1


def test_the_token_endpoint_answers_only_post(sidecar: Sidecar, upstream: Upstream) -> None:
    response = send(sidecar, "/oauth/token")
    assert response.status == 405
    assert response.values("allow") == ["POST"]
    assert upstream.take() == []


def test_a_refused_request_is_one_log_line(sidecar: Sidecar) -> None:
    send(sidecar, "/logged/here?secret=hidden")
    record = sidecar.record("request_refused", path="/logged/here")
    assert (record["reason"], record["status"], record["method"]) == ("missing_token", 401, "GET")
    assert not any("hidden" in line for line in sidecar.logs)


def test_head_has_no_body(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    response = send(sidecar, "/orders", f"Authorization: Bearer {token}", method="HEAD")
    assert (response.status, response.body, response.values("content-length")) == (200, b"", ["1000"])


def test_pipelined_requests_are_answered_in_order_on_one_connection(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    upstream.answer = lambda received, connection: bool(
        connection.sendall(reply(200, received.target.encode())) or True
    )
    admitted = f"Host: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    requests = [
        f"GET /orders/1 HTTP/1.1\r\n{admitted}",
        "GET /orders/2 HTTP/1.1\r\nHost: a\r\n\r\n",
        f"POST /orders/3 HTTP/1.1\r\nContent-Length: 3\r\n{admitted}abc",
        f"GET /orders/4 HTTP/1.1\r\n{admitted}",
    ]
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall("".join(requests).encode())
        received = b""
        while received.count(b"HTTP/1.1 ") < 4 or not received.endswith(b"/orders/4"):
            received += connection.recv(65536)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401", b"200", b"200"]
    assert [r.target for r in upstream.take()] == ["/orders/1", "/orders/3", "/orders/4"]
