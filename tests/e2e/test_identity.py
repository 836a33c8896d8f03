"""Forged identities: what a caller sends under our names is gone, and a token that is not ours opens nothing."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from tests.support.process import AUDIENCE, ISSUER, KEY, KID, Sidecar
from tests.support.raw import Response, exchange
from tests.support.upstream import Upstream

SEPARATORS = "!#$%&'*+-.^_`|~"
IDENTITY = ["X-Auth-Client-Id", "x-auth-subject", "X-Auth-Scope", "X-AUTH-ROLES"]
SPELLINGS = [
    ("X-Auth-Client-Id",), ("x-auth-client-id",), ("X_Auth_Client_Id",), ("X-AUTH_CLIENT-ID",), ("x.auth.client.id",),
    ("X-Auth-Client-Id", "X-Auth-Client-Id"), ("X-Auth-Subject", "X_AUTH_SUBJECT"), ("X-Auth-Scope",), ("X-Auth-Roles",),
]  # fmt: skip


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {"routes": [{"path": "/public/**", "access": "public"}]}


def get(sidecar: Sidecar, token: str, *lines: str, target: str = "/x") -> Response:
    head = [f"GET {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *lines, "", ""]
    return exchange(sidecar.address, "\r\n".join(head).encode("latin-1"))


def reason(response: Response) -> str:
    word: str = json.loads(response.body)["reason"]
    return word


@pytest.mark.parametrize("names", SPELLINGS)
def test_a_forged_identity_never_arrives(
    sidecar: Sidecar, upstream: Upstream, token: str, names: tuple[str, ...]
) -> None:
    assert get(sidecar, token, *[f"{name}: forged" for name in names]).status == 200
    (received,) = upstream.take()
    assert b"forged" not in received.raw
    for name in ("client-id", "subject", "scope", "roles"):
        assert len(received.values(f"x-auth-{name}")) == 1


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", IDENTITY)
def test_no_server_can_fold_a_name_to_one_of_ours(
    sidecar: Sidecar, upstream: Upstream, token: str, name: str, separator: str
) -> None:
    """CGI gateways make one character of all that are no letter or digit."""
    spellings = [name.replace("-", separator), name.replace("-", separator, 1), separator.join(name.rsplit("-", 1))]
    named = f"Connection: {', '.join(spellings)}"
    for lines in (
        [f"{each}: forged" for each in spellings],
        [named, *[f"{each}: forged" for each in spellings]],
        [named],
    ):
        assert get(sidecar, token, *lines).status == 200
        assert get(sidecar, token, *lines, target="/public/x").status == 200
        received, public = upstream.take()
        assert b"forged" not in received.raw + public.raw
        for each in IDENTITY:
            assert len(received.values(each.lower())) == 1
            assert public.values(each.lower()) == []


def test_a_forged_identity_in_a_trailer_never_arrives(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n"
    response = exchange(
        sidecar.address, (head + "Trailer: X-Auth-Roles\r\n\r\n3\r\nabc\r\n0\r\nX-Auth-Roles: forged\r\n\r\n").encode()
    )
    assert response.status == 200
    (received,) = upstream.take()
    assert received.body == b"abc"
    assert b"forged" not in received.raw


@pytest.mark.parametrize("name", ["X~Auth~Roles", "X-Forwarded-For", "X-Original-URL", "Cookie"])
def test_a_requests_trailers_end_here(sidecar: Sidecar, upstream: Upstream, token: str, name: str) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailer = f"{name}: 12345\r\nX-Sum: 12345\r\n\r\n"
    for body in ("3\r\nabc\r\n0\r\n", "3\r\nabc\r\n" + "10000\r\n" + "x" * 65536 + "\r\n0\r\n"):
        assert exchange(sidecar.address, (head + body + trailer).encode()).status == 200
        assert b"12345" not in upstream.take()[0].raw


def test_connection_cannot_name_our_fields(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    line = (
        "Connection: x-auth-client-id, X-Auth-Roles, x-auth-scope, x-auth-subject, authorization, host, x-forwarded-for"
    )
    assert get(sidecar, token, line).status == 200
    (received,) = upstream.take()
    assert received.values("x-auth-client-id") == ["reporting"]
    assert received.values("x-auth-roles") == ["analyst"]
    assert received.values("x-forwarded-for") == ["127.0.0.1"]
    assert received.values("host") == ["a"]


def test_forwarded_fields_of_a_stranger_are_replaced(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    lines = [
        "X-Forwarded-For: 6.6.6.6",
        "x_forwarded_for: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "Forwarded: for=6.6.6.6",
    ]
    assert get(sidecar, token, *lines, "X-Forwarded-Host: evil").status == 200
    (received,) = upstream.take()
    assert b"6.6.6.6" not in received.raw
    assert received.values("x-forwarded-for") == ["127.0.0.1"]
    assert received.values("x-forwarded-proto") == ["http"]
    assert received.values("x-forwarded-host") == ["a"]


def encode(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, claims: Any, key: str = KEY) -> str:
    data = f"{encode(header)}.{encode(claims)}"
    return f"{data}.{encode(hmac.digest(key.encode(), data.encode(), hashlib.sha256))}"


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "s", "client_id": "s", "jti": "j", "iat": now, "exp": now + 60}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


HEADER = {"alg": "HS256", "typ": "at+jwt", "kid": KID}
MISSPELT = {
    "padding": lambda t: t + "=",
    "cut": lambda t: t[:-1],
    "cut more": lambda t: t[:-5],
    "other spelling of the signature": lambda t: t[:-1] + chr(ord(t[-1]) + 1),
    "standard alphabet": lambda t: t.replace("-", "+").replace("_", "/") + "+",
    "four segments": lambda t: t + ".x",
    "no signature": lambda t: t.rpartition(".")[0] + ".",
    "upper case": lambda t: t.upper(),
    "1 MiB": lambda t: "a" * 20_000,
}
FORGED = {
    "alg none": (lambda: jwt.encode(claims(), None, "none", {"typ": "at+jwt", "kid": KID}), "malformed_token"),
    "other alg": (lambda: jwt.encode(claims(), KEY * 2, "HS512", {"typ": "at+jwt", "kid": KID}), "bad_signature"),
    "other key": (lambda: signed(HEADER, claims(), "x" * 32), "bad_signature"),
    "kid as a path": (lambda: signed({**HEADER, "kid": "../../dev/null"}, claims(), ""), "unknown_key"),
    "no kid": (lambda: signed({"alg": "HS256", "typ": "at+jwt"}, claims()), "unknown_key"),
    "jwk": (lambda: signed({**HEADER, "jwk": {"kty": "oct", "k": encode(b"x")}}, claims()), "malformed_token"),
    "jku": (lambda: signed({**HEADER, "jku": "http://127.0.0.1:9/k"}, claims()), "malformed_token"),
    "x5u": (lambda: signed({**HEADER, "x5u": "http://127.0.0.1:9/k"}, claims()), "malformed_token"),
    "crit": (lambda: signed({**HEADER, "crit": ["x"], "x": 1}, claims()), "malformed_token"),
    "b64 false": (lambda: signed({**HEADER, "b64": False, "crit": ["b64"]}, claims()), "malformed_token"),
    "an ID token": (lambda: signed({**HEADER, "typ": "JWT"}, claims()), "wrong_type"),
    "no exp": (lambda: signed(HEADER, claims(exp=None)), "malformed_token"),
    "exp as a string": (lambda: signed(HEADER, claims(exp="9999999999")), "malformed_token"),
    "negative exp": (lambda: signed(HEADER, claims(exp=-1)), "malformed_token"),
    "exp 1e23": (lambda: signed(HEADER, claims(exp=1e23)), "malformed_token"),
    "expired": (lambda: signed(HEADER, claims(exp=int(time.time()) - 1)), "expired"),
    "from the future": (lambda: signed(HEADER, claims(nbf=int(time.time()) + 60)), "not_yet_valid"),
    "other issuer": (lambda: signed(HEADER, claims(iss="https://evil")), "wrong_issuer"),
    "other audience": (lambda: signed(HEADER, claims(aud="other")), "wrong_audience"),
    "a line break in the client": (lambda: signed(HEADER, claims(client_id="a\r\nX-Evil: 1")), "malformed_token"),
    "deep": (lambda: signed(HEADER, b"[" * 5000), "malformed_token"),
    "an opaque token": (lambda: "rt_" + "a" * 43, "malformed_token"),
}


@pytest.mark.parametrize("case", MISSPELT)
def test_a_misspelt_token_is_refused(sidecar: Sidecar, upstream: Upstream, token: str, case: str) -> None:
    assert get(sidecar, token).status == 200  # it is in the cache now
    upstream.take()
    assert get(sidecar, MISSPELT[case](token)).status in (401, 431)
    assert upstream.take() == []


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_token_is_refused_and_the_reason_counted(sidecar: Sidecar, upstream: Upstream, case: str) -> None:
    forge, expected = FORGED[case]
    before = sidecar.metric("sidecar_auth_failures_total", plane="protected", reason=expected)
    response = get(sidecar, forge())
    assert (response.status, reason(response)) == (401, expected)
    assert upstream.take() == []
    assert sidecar.metric("sidecar_auth_failures_total", plane="protected", reason=expected) == before + 1


def test_our_own_forgery_kit_makes_good_tokens(sidecar: Sidecar, upstream: Upstream) -> None:
    assert get(sidecar, signed(HEADER, claims())).status == 200


def test_two_authorization_headers_are_refused(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    for line in (f"Authorization: Bearer {token}", "Authorization: Basic YTpi"):
        response = get(sidecar, token, line)
        assert (response.status, reason(response)) == (400, "multiple_tokens")
    assert upstream.take() == []


def test_many_unknown_keys_grow_nothing(sidecar: Sidecar, upstream: Upstream) -> None:
    for number in range(300):
        assert get(sidecar, signed({**HEADER, "kid": f"random-{number}"}, claims())).status == 401
    assert upstream.take() == []
