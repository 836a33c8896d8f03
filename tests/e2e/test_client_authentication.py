"""How clients prove who they are, over real sockets: every method, what is wrong with each, two processes on one Redis."""

import base64
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.oauth.secrets import hash_secret
from tests.support.assertions import b64, ec_pair, ed_pair, parameters, rsa_pair, sign
from tests.support.process import ISSUER, UNTHROTTLED, Sidecar, get, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

GRANT = {"grant_type": "client_credentials"}
OLD, NEW, LONG = "old-canary-secret", "new-canary-secret", "hmac-canary-secret" * 3
RSA, ROTATED, EC, ED = rsa_pair(), rsa_pair(), ec_pair(), ed_pair()
ODD_ID, ODD_SECRET = "odd id+%41:ä".replace("ä", "&"), "p+%41: ä&="
SALT = bytes(16)


def hashed(secret: str) -> str:
    return hash_secret(secret, SALT, "sha256")


CLIENTS: list[dict[str, Any]] = [
    {"client_id": "any", "client_secret_hash": hashed(OLD)},
    {"client_id": ODD_ID, "client_secret": ODD_SECRET},
    {"client_id": "basic", "client_secret": OLD, "token_endpoint_auth_method": "client_secret_basic"},
    {"client_id": "post", "client_secret": OLD, "token_endpoint_auth_method": "client_secret_post"},
    {"client_id": "two", "client_secret_hashes": [hashed(OLD), hashed(NEW)]},
    {"client_id": "hmac", "client_secret": LONG, "token_endpoint_auth_method": "client_secret_jwt"},
    {"client_id": "rsa", "public_key": RSA.public, "token_endpoint_auth_method": "private_key_jwt"},
    {"client_id": "set", "jwks": {"keys": [{**RSA.jwk, "kid": "1"}, {**ROTATED.jwk, "kid": "2"}, EC.jwk]}},
    {"client_id": "ed", "public_key": [ED.public], "client_secret": OLD},
    {"client_id": "app", "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
     "redirect_uris": ["com.example.app:/cb"]},
    {"client_id": "off", "client_secret": OLD, "public_key": EC.public, "disabled": True},
]  # fmt: skip
for each in CLIENTS:
    each["scope"] = "orders:read"


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    """So many failures come from here that they would be throttled, which is another test's matter."""
    return {"clients": CLIENTS, "throttling": UNTHROTTLED}


def claims(client_id: str, **changes: Any) -> dict[str, Any]:
    made = {
        "iss": client_id, "sub": client_id, "aud": ISSUER, "exp": int(time.time()) + 60, "iat": int(time.time()),
        "jti": uuid.uuid4().hex,
    }  # fmt: skip
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def ask(sidecar: Sidecar, fields: dict[str, str], path: str = "/oauth/token", **headers: str) -> tuple[int, Any]:
    status, body = get(f"{sidecar.public}{path}", {**GRANT, **fields}, **headers)
    return status, json.loads(body or "null")


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def asserted(
    client_id: str, key: Any, alg: str, /, header: dict[str, Any] | None = None, **changes: Any
) -> dict[str, str]:
    return parameters(sign(claims(client_id, **changes), key, alg, **(header or {})))


LET_IN: dict[str, Any] = {
    "basic": lambda: ({}, {"Authorization": basic("any", OLD)}),
    "basic, form-encoded": lambda: ({}, {"Authorization": basic(quote_plus(ODD_ID), quote_plus(ODD_SECRET))}),
    "post": lambda: ({"client_id": "any", "client_secret": OLD}, {}),
    "post, odd": lambda: ({"client_id": ODD_ID, "client_secret": ODD_SECRET}, {}),
    "basic, registered": lambda: ({}, {"Authorization": basic("basic", OLD)}),
    "post, registered": lambda: ({"client_id": "post", "client_secret": OLD}, {}),
    "the old of two": lambda: ({"client_id": "two", "client_secret": OLD}, {}),
    "the new of two": lambda: ({"client_id": "two", "client_secret": NEW}, {}),
    "HS256": lambda: (asserted("hmac", LONG, "HS256"), {}),
    "HS384": lambda: (asserted("hmac", LONG, "HS384"), {}),
    "RS256": lambda: (asserted("rsa", RSA.private, "RS256"), {}),
    "PS256": lambda: (asserted("rsa", RSA.private, "PS256"), {}),
    "ES256": lambda: (asserted("set", EC.private, "ES256"), {}),
    "EdDSA": lambda: (asserted("ed", ED.private, "EdDSA"), {}),
    "a secret beside a key": lambda: ({"client_id": "ed", "client_secret": OLD}, {}),
    "the second key by its id": lambda: (asserted("set", ROTATED.private, "RS256", {"kid": "2"}), {}),
    "the endpoint as audience": lambda: (asserted("rsa", RSA.private, "RS256", aud=ISSUER + "/oauth/token"), {}),
    "the client named beside": lambda: ({**asserted("rsa", RSA.private, "RS256"), "client_id": "rsa"}, {}),
}


@pytest.mark.parametrize("case", LET_IN)
def test_a_client_is_let_in_and_its_token_works(sidecar: Sidecar, upstream: Upstream, case: str) -> None:
    fields, headers = LET_IN[case]()
    status, body = ask(sidecar, fields, **headers)
    assert status == 200, body
    assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {body['access_token']}")[0] == 200


def unsigned(header: dict[str, Any], **changes: Any) -> dict[str, str]:
    head, payload = (b64(json.dumps(part).encode()) for part in (header, claims("rsa", **changes)))
    return parameters(f"{head}.{payload}.AA")


KEPT_OUT: dict[str, tuple[Any, str]] = {
    "basic, where post is registered": (lambda: ({}, {"Authorization": basic("post", OLD)}), "wrong_auth_method"),
    "post, where basic is registered": (lambda: ({"client_id": "basic", "client_secret": OLD}, {}), "wrong_auth_method"),
    "a secret, where an HMAC is": (lambda: ({"client_id": "hmac", "client_secret": LONG}, {}), "wrong_auth_method"),
    "a secret, where a key is": (lambda: ({"client_id": "rsa", "client_secret": OLD}, {}), "bad_client_secret"),
    "no proof at all": (lambda: ({"client_id": "any"}, {}), "wrong_auth_method"),
    "an unknown client": (lambda: ({"client_id": "nobody", "client_secret": OLD}, {}), "unknown_client"),
    "a wrong secret": (lambda: ({"client_id": "two", "client_secret": "x"}, {}), "bad_client_secret"),
    "both secrets at once": (lambda: ({"client_id": "two", "client_secret": OLD + NEW}, {}), "bad_client_secret"),
    "a disabled client's secret": (lambda: ({"client_id": "off", "client_secret": OLD}, {}), "client_disabled"),
    "a disabled client's key": (lambda: (asserted("off", EC.private, "ES256"), {}), "client_disabled"),
    "an unknown client's assertion": (lambda: (asserted("nobody", RSA.private, "RS256"), {}), "unknown_client"),
    "another audience": (lambda: (asserted("rsa", RSA.private, "RS256", aud="https://x"), {}), "bad_client_assertion"),
    "another audience too": (
        lambda: (asserted("rsa", RSA.private, "RS256", aud=[ISSUER, "https://x"]), {}), "bad_client_assertion"),
    "no exp": (lambda: (asserted("rsa", RSA.private, "RS256", exp=None), {}), "bad_client_assertion"),
    "expired": (lambda: (asserted("rsa", RSA.private, "RS256", exp=int(time.time())), {}), "bad_client_assertion"),
    "in a day": (lambda: (asserted("rsa", RSA.private, "RS256", exp=int(time.time()) + 86400), {}), "bad_client_assertion"),
    "not yet": (lambda: (asserted("rsa", RSA.private, "RS256", nbf=int(time.time()) + 50), {}), "bad_client_assertion"),
    "no jti": (lambda: (asserted("rsa", RSA.private, "RS256", jti=None), {}), "bad_client_assertion"),
    "another's key": (lambda: (asserted("rsa", ROTATED.private, "RS256"), {}), "bad_client_assertion"),
    "the PEM as a secret": (lambda: (asserted("rsa", RSA.public, "HS256"), {}), "bad_client_assertion"),
    "the secret as a key": (lambda: (asserted("ed", OLD, "HS256"), {}), "bad_client_assertion"),
    "none": (lambda: (unsigned({"alg": "none"}), {}), "bad_client_assertion"),
    "NoNe": (lambda: (unsigned({"alg": "NoNe"}), {}), "bad_client_assertion"),
    "a path for a kid": (
        lambda: (asserted("set", RSA.private, "RS256", {"kid": "../../dev/null"}), {}), "bad_client_assertion"),
    "SQL for a kid": (lambda: (asserted("set", RSA.private, "RS256", {"kid": "' OR 1=1 --"}), {}), "bad_client_assertion"),
    "the other key's kid": (lambda: (asserted("set", RSA.private, "RS256", {"kid": "2"}), {}), "bad_client_assertion"),
    "an embedded key": (lambda: (asserted("rsa", ROTATED.private, "RS256", {"jwk": ROTATED.jwk}), {}), "bad_client_assertion"),
    "a key elsewhere": (
        lambda: (asserted("rsa", ROTATED.private, "RS256", {"jku": "http://127.0.0.1:1"}), {}), "bad_client_assertion"),
    "another type of assertion": (
        lambda: ({**asserted("rsa", RSA.private, "RS256"), "client_assertion_type": "x"}, {}), "bad_client_assertion"),
    "an access token": (lambda: (asserted("rsa", RSA.private, "RS256", {"typ": "at+jwt"}), {}), "bad_client_assertion"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT_OUT)
def test_who_is_kept_out_reads_invalid_client_and_the_log_says_why(sidecar: Sidecar, case: str) -> None:
    make, reason = KEPT_OUT[case]
    fields, headers = make()
    before = sidecar.metric("sidecar_auth_failures_total", plane="token", reason=reason)
    for path in ("/oauth/token", "/oauth/revoke"):
        status, body = ask(sidecar, {**fields, "token": "x"}, path, **headers)
        assert (status, body["error"], body["reason"]) == (401, "invalid_client", "invalid_client")
    assert sidecar.metric("sidecar_auth_failures_total", plane="token", reason=reason) == before + 2


def test_a_public_client_gets_no_token_for_itself_but_may_revoke(sidecar: Sidecar) -> None:
    status, body = ask(sidecar, {"client_id": "app"})
    assert (status, body["error"]) == (400, "unauthorized_client")
    assert ask(sidecar, {"client_id": "app", "token": "x"}, "/oauth/revoke")[0] == 200


def test_an_assertion_in_the_url_is_refused(sidecar: Sidecar) -> None:
    status, body = get(f"{sidecar.public}/oauth/token?client_assertion=canary", GRANT)
    assert (status, "never in the URL" in body) == (400, True)


@pytest.mark.parametrize("method", ["client_secret_jwt", "private_key_jwt"])
def test_authlib_authenticates_by_an_assertion(sidecar: Sidecar, method: str) -> None:
    """Its assertions live for an hour, and name the token endpoint that it is told."""
    endpoint = ISSUER + "/oauth/token"
    pem = RSA.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    client_id, secret, kind = (
        ("hmac", LONG, ClientSecretJWT(endpoint))
        if method == "client_secret_jwt"
        else ("rsa", pem, PrivateKeyJWT(endpoint))
    )
    with OAuth2Session(client_id, secret, token_endpoint_auth_method=kind) as session:
        for _ in range(2):
            assert session.fetch_token(f"{sidecar.public}/oauth/token", **GRANT)["scope"] == "orders:read"


def test_a_token_of_a_client_that_is_disabled_meanwhile_is_refused(tmp_path: Path, shared_upstream: Upstream) -> None:
    with running(tmp_path, shared_upstream.url) as sidecar:
        token, other = sidecar.token(), sidecar.token("other", "other-secret")
    clients = [
        {"client_id": "reporting", "client_secret": "reporting-secret", "scope": "orders:read", "disabled": True},
        {"client_id": "other", "client_secret": "other-secret", "scope": "orders:read"},
    ]
    shared_upstream.take()
    with running(tmp_path, shared_upstream.url, clients=clients) as sidecar:
        for _ in range(2):
            status, body = get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")
            assert (status, json.loads(body)["error"], json.loads(body)["reason"]) == (
                401,
                "invalid_token",
                "client_disabled",
            )
        assert sidecar.metric("sidecar_auth_failures_total", plane="protected", reason="client_disabled") == 2
        assert shared_upstream.take() == []
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {other}")[0] == 200


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[tuple[RedisServer, Sidecar, Sidecar]]:
    """Two processes, the second with two workers, that share a Redis."""
    with RedisServer() as redis:
        store = {"url": redis.url, "timeout": "500ms"}
        folders = [tmp_path_factory.mktemp("sidecar") for _ in range(2)]
        with (
            running(folders[0], shared_upstream.url, clients=CLIENTS, store=store) as one,
            running(folders[1], shared_upstream.url, clients=CLIENTS, store=store, workers=2) as two,
        ):
            yield redis, one, two


def test_an_assertion_is_taken_by_one_process_only(pair: tuple[RedisServer, Sidecar, Sidecar]) -> None:
    redis, one, two = pair
    for client_id, key, alg in (("rsa", RSA.private, "RS256"), ("hmac", LONG, "HS256")):
        fields = asserted(client_id, key, alg, jti="canary-jti")
        assert ask(one, fields)[0] == 200
        for sidecar in (one, two, two):
            status, body = ask(sidecar, fields)
            assert (status, body["error"]) == (401, "invalid_client")
    assert two.metric("sidecar_auth_failures_total", plane="token", reason="replayed_client_assertion") == 4
    keys = redis.command("KEYS", "*")
    assert not any(b"canary" in key for key in keys)
    (found,) = [key for key in keys if b"jti:rsa:" in key]
    assert 60 < redis.command("TTL", found) <= 120


def test_the_last_use_of_each_secret_is_told_by_all_workers(pair: tuple[RedisServer, Sidecar, Sidecar]) -> None:
    _, _, two = pair
    name = "sidecar_client_secret_last_used_timestamp_seconds"
    assert two.metric(name, client_id="two") == 0
    before = time.time()
    for _ in range(6):
        assert ask(two, {"client_id": "two", "client_secret": OLD})[0] == 200
    middle = time.time()
    assert before - 1 <= two.metric(name, client_id="two", secret="1") <= middle + 1
    assert two.metric(name, client_id="two", secret="2") == 0
    ask(two, {"client_id": "two", "client_secret": "wrong"})
    ask(two, {"client_id": "nobody", "client_secret": OLD})
    assert ask(two, {"client_id": "two", "client_secret": NEW})[0] == 200
    assert two.metric(name, client_id="two", secret="2") >= middle - 1
    assert two.metric(name, client_id="nobody") == 0


def test_while_redis_is_down_assertions_get_503_and_secrets_go_on(pair: tuple[RedisServer, Sidecar, Sidecar]) -> None:
    redis, one, _ = pair
    fields = asserted("rsa", RSA.private, "RS256")
    redis.pause()
    try:
        for path in ("/oauth/token", "/oauth/revoke"):
            status, body = ask(one, {**fields, "token": "x"}, path)
            assert (status, body["reason"]) == (503, "store_unavailable")
        assert ask(one, {"client_id": "any", "client_secret": OLD})[0] == 200
        assert ask(one, asserted("nobody", RSA.private, "RS256"))[0] == 401
    finally:
        redis.resume()


def test_no_secret_is_logged_or_counted(pair: tuple[RedisServer, Sidecar, Sidecar], sidecar: Sidecar) -> None:
    for each in (sidecar, *pair[1:]):
        _, text = get(f"{each.admin}/metrics")
        assert "canary" not in "".join(each.logs) + text


TEXTS = st.text(max_size=30) | st.sampled_from([OLD, "any", "rsa", "%", "%41", ":", "\x00", "é", "eyJ", "."])
HEADERS = st.one_of(
    st.tuples(TEXTS, TEXTS).map(lambda pair: basic(*pair)),
    st.binary(max_size=30).map(lambda data: "Basic " + base64.b64encode(data).decode()),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
CLAIMS = st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "x"]), VALUES, max_size=4)
HEADER = st.dictionaries(st.sampled_from(["typ", "kid", "crit", "jwk"]), VALUES, max_size=2)
ALGS = st.sampled_from(["RS256", "PS256", "HS256", "none", "ES999"])
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def status_of(sidecar: Sidecar, fields: dict[str, str], **headers: str) -> int:
    data = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in {**GRANT, **fields}.items()).encode()
    request = urllib.request.Request(f"{sidecar.public}/oauth/token", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


@FUZZ
@given(HEADERS)
def test_any_basic_header_is_answered_and_never_by_5xx(sidecar: Sidecar, header: str) -> None:
    assert status_of(sidecar, {}, Authorization=header) in (200, 400, 401, 429)


@FUZZ
@given(CLAIMS, HEADER, ALGS, st.binary(max_size=8))
def test_any_assertion_is_answered_and_never_by_5xx(
    sidecar: Sidecar, changes: dict[str, Any], header: dict[str, Any], alg: str, noise: bytes
) -> None:
    key = LONG if alg == "HS256" else RSA.private
    text = sign({**claims("hmac" if alg == "HS256" else "rsa"), **changes}, key, alg, **header)
    cut = text[: -len(noise) or None] + (b64(noise) if noise else "")
    for assertion in (text, cut):
        assert status_of(sidecar, parameters(assertion)) in (200, 400, 401)


@FUZZ
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_for_an_assertion_is_answered_and_never_by_5xx(sidecar: Sidecar, text: str) -> None:
    assert status_of(sidecar, parameters(text)) in (400, 401)
