"""core.jose.assertions: which assertions are taken, and what finding out costs. RFC 7523 section 3."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jose.assertions import AssertionRules
from sidecar.core.jose.client_keys import ClientKey, from_secret, read_jwk, read_pem
from sidecar.core.jose.compact import MAX_TOKEN
from sidecar.core.oauth.clients import AuthMethod, Client, ClientRegistry
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.reasons import Reason, Refused
from tests.support.assertions import b64, ec_pair, ed_pair, rsa_pair, sign

NOW = 1_800_000_000.5
ISSUER, ENDPOINT = "https://issuer", "https://issuer/oauth/token"
RSA, OTHER_RSA, EC, ED = rsa_pair(), rsa_pair(), ec_pair(), ed_pair()
SECRET = "s" * 32
HASH = parse_secret_hash(hash_secret(SECRET, bytes(16), "sha256"))


def client(client_id: str, *keys: ClientKey, method: AuthMethod | None = None, **fields: Any) -> Client:
    return Client(
        client_id, fields.pop("secrets", ()), frozenset(), keys=keys, token_endpoint_auth_method=method, **fields
    )


CLIENTS = [
    client("rsa", read_pem(RSA.public), method="private_key_jwt"),
    client("ec", read_pem(EC.public)),
    client("ed", read_pem(ED.public), secrets=(HASH,)),
    client("ps", read_jwk({**RSA.jwk, "alg": "PS256"})),
    client("hs", from_secret(SECRET), method="client_secret_jwt", secrets=(HASH,)),
    client("two", read_jwk({**RSA.jwk, "kid": "old"}), read_jwk({**OTHER_RSA.jwk, "kid": "new"})),
    client("off", read_pem(EC.public), disabled=True),
    client("secret", secrets=(HASH,)),
    client("posts", read_pem(EC.public), secrets=(HASH,), method="client_secret_post"),
    client("app", method="none"),
]
RULES = AssertionRules(ClientRegistry(CLIENTS, bytes(32)), issuer=ISSUER, token_endpoint=ENDPOINT)
KEYS: dict[str, tuple[Any, str]] = {
    "rsa": (RSA.private, "RS256"), "ec": (EC.private, "ES256"), "ed": (ED.private, "EdDSA"), "ps": (RSA.private, "PS256"),
    "hs": (SECRET, "HS256"), "two": (RSA.private, "RS256"), "off": (EC.private, "ES256"),
}  # fmt: skip
BAD, UNKNOWN, METHOD = Reason.BAD_CLIENT_ASSERTION, Reason.UNKNOWN_CLIENT, Reason.WRONG_AUTH_METHOD


def claims(client_id: str = "rsa", **changes: Any) -> dict[str, Any]:
    """A right set of claims; a change to `None` takes a claim out."""
    made = {"iss": client_id, "sub": client_id, "aud": ISSUER, "exp": NOW // 1 + 60, "jti": "j", "iat": int(NOW)}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def made(client_id: str = "rsa", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    key, alg = KEYS[client_id]
    return sign(claims(client_id, **changes), key, alg, **(header or {}))


def outcome(text: str) -> Reason | str:
    """Who is recognised, or why nobody is."""
    try:
        return RULES.verify(RULES.read(text, NOW)).client.client_id
    except Refused as refused:
        tells = refused.detail != refused.reason.sentence
        assert not (tells and (refused.reason is not BAD or refused.client_id)), "who probes ids is told nothing"  # noqa: PT017  one outcome
        return refused.reason


@pytest.mark.parametrize("client_id", sorted(KEYS.keys() - {"off"}))
def test_a_client_is_who_holds_its_key(client_id: str) -> None:
    assert outcome(made(client_id)) == client_id


TAKEN: dict[str, str] = {
    "the endpoint as audience": made(aud=ENDPOINT),
    "audiences that are both us": made(aud=[ISSUER, ENDPOINT]),
    "a list of one": made(aud=[ISSUER]),
    "no iat": made(iat=None),
    "an nbf": made(nbf=int(NOW)),
    "times with fractions": made(exp=NOW + 0.25, iat=NOW - 1.5),
    "an hour": made(exp=int(NOW) + 3600),
    "a clock that is ahead a little": made(iat=int(NOW) + 30, exp=int(NOW) + 90),
    "typ JWT": made(header={"typ": "JWT"}),
    "a typ of its own": made(header={"typ": "client-authentication+jwt"}),
    "claims that we do not know": made(foo=[1], nonce="x"),
    "the kid of a PEM, which has none": made(header={"kid": "whatever"}),
    "PS256 by an RSA key": sign(claims(), RSA.private, "PS256"),
    "the old key by its id": made("two", header={"kid": "old"}),
    "the new key by its id": sign(claims("two"), OTHER_RSA.private, "RS256", kid="new"),
    "the new key without an id": sign(claims("two"), OTHER_RSA.private, "RS256"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_taken(case: str) -> None:
    assert outcome(TAKEN[case]) in ("rsa", "two")


GOOD = made()
HEAD, BODY, SIGNATURE = GOOD.split(".")
TWICE = json.dumps(claims())[:-1] + ', "sub": "ec"}'
HELD = json.dumps(claims()).replace('"j"', "NaN")
TODAY = int(NOW)


def headed(header: bytes) -> str:
    """The right body and signature below another header."""
    return f"{b64(header)}.{BODY}.{SIGNATURE}"


NOT_TAKEN: dict[str, tuple[str, Reason]] = {
    # 1. the shape
    "nothing": ("", BAD),
    "a text": ("canary", BAD),
    "two segments": (f"{HEAD}.{BODY}", BAD),
    "no signature": (f"{HEAD}.{BODY}.", BAD),
    "four segments": (GOOD + ".x", BAD),
    "padding": (GOOD + "=", BAD),
    "a line feed": (GOOD + "\n", BAD),
    "another spelling": (f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{'B' if SIGNATURE[-1] != 'B' else 'C'}", BAD),
    "too long": (made(foo="x" * MAX_TOKEN), BAD),
    "claims that are a list": (sign(b"[]", RSA.private, "RS256"), BAD),
    "claims that are no JSON": (sign(b"{", RSA.private, "RS256"), BAD),
    "claims in Latin-1": (sign(b'{"sub": "\xe4"}', RSA.private, "RS256"), BAD),
    "a claim twice": (sign(TWICE.encode(), RSA.private, "RS256"), BAD),
    "not a number": (sign(HELD.encode(), RSA.private, "RS256"), BAD),
    "thousands of levels": (sign(b"[" * 5000, RSA.private, "RS256"), BAD),
    # 2. the header
    "alg none": (headed(b'{"alg": "none"}'), BAD),
    "alg None": (sign(claims(), "", "None"), BAD),
    "no alg": (headed(b'{}'), BAD),
    "alg 5": (headed(b'{"alg": 5}'), BAD),
    "alg in a list": (headed(b'{"alg": ["RS256"]}'), BAD),
    "alg twice": (headed(b'{"alg": "none", "alg": "RS256"}'), BAD),
    "an access token's typ": (made(header={"typ": "at+jwt"}), BAD),
    "a typ that is none": (made(header={"typ": ["JWT"]}), BAD),
    "kid 5": (made(header={"kid": 5}), BAD),
    "an embedded key": (made(header={"jwk": RSA.jwk}), BAD),
    "a key elsewhere": (made(header={"jku": "https://evil.example"}), BAD),
    "a certificate elsewhere": (made(header={"x5u": "https://evil.example"}), BAD),
    "crit": (made(header={"crit": ["exp"]}), BAD),
    "b64 false": (made(header={"b64": False}), BAD),
    # 3. the claims
    "no sub": (made(sub=None), BAD),
    "no iss": (made(iss=None), BAD),
    "sub 5": (made(sub=5, iss=5), BAD),
    "another iss": (made(iss="ec"), BAD),
    "no aud": (made(aud=None), BAD),
    "no audience": (made(aud=[]), BAD),
    "another audience": (made(aud="https://other"), BAD),
    "a slash more": (made(aud=ISSUER + "/"), BAD),
    "another audience too": (made(aud=[ISSUER, "https://other"]), BAD),
    "an audience in a list in a list": (made(aud=[[ISSUER]]), BAD),
    "aud an object": (made(aud={ISSUER: 1}), BAD),
    "no exp": (made(exp=None), BAD),
    "exp a text": (made(exp=str(TODAY + 60)), BAD),
    "exp true": (made(exp=True), BAD),
    "exp 1e23": (made(exp=1e23), BAD),
    "exp negative": (made(exp=-1), BAD),
    "exp infinite": (sign(json.dumps(claims()).replace("1800000060.0", "1e999").encode(), RSA.private, "RS256"), BAD),
    "exp of 5000 digits": (sign(b'{"exp": ' + b"9" * 5000 + b"}", RSA.private, "RS256"), BAD),
    "expired": (made(exp=TODAY), BAD),
    "in two hours": (made(exp=TODAY + 7200), BAD),
    "in two hours without iat": (made(exp=TODAY + 7200, iat=None), BAD),
    "an hour and more of life": (made(exp=TODAY + 1800, iat=TODAY - 1900), BAD),
    "iat ahead": (made(iat=TODAY + 40), BAD),
    "nbf ahead": (made(nbf=TODAY + 40), BAD),
    "nbf a text": (made(nbf="0"), BAD),
    "iat a list": (made(iat=[0]), BAD),
    "no jti": (made(jti=None), BAD),
    "an empty jti": (made(jti=""), BAD),
    "a long jti": (made(jti="j" * 256), BAD),
    "jti 5": (made(jti=5), BAD),
    # 4. the client and the signature
    "an unknown client": (sign(claims("nobody"), RSA.private, "RS256"), UNKNOWN),
    "an unknown client's HMAC": (sign(claims("nobody"), SECRET, "HS256"), UNKNOWN),
    "an empty id": (sign(claims(""), RSA.private, "RS256"), UNKNOWN),
    "a lone surrogate": (sign(claims("\ud800"), RSA.private, "RS256"), UNKNOWN),
    "a path for a kid": (sign(claims("two"), OTHER_RSA.private, "RS256", kid="../../dev/null"), BAD),
    "the old id for the new key": (sign(claims("two"), OTHER_RSA.private, "RS256", kid="old"), BAD),
    "another client's key": (sign(claims("rsa"), OTHER_RSA.private, "RS256"), BAD),
    "another kind of key": (sign(claims("rsa"), EC.private, "ES256"), BAD),
    "the PEM as a secret": (sign(claims("rsa"), RSA.public, "HS256"), BAD),
    "the PEM without its last line feed": (sign(claims("rsa"), RSA.public.strip(), "HS256"), BAD),
    "the secret where a key is due": (sign(claims("ed"), SECRET, "HS256"), BAD),
    "RS256 where PS256 is due": (sign(claims("ps"), RSA.private, "RS256"), BAD),
    "a hash that the secret is too short for": (sign(claims("hs"), SECRET, "HS512"), BAD),
    "a wrong secret": (sign(claims("hs"), "w" * 32, "HS256"), BAD),
    "an empty secret": (sign(claims("hs"), b"", "HS256"), BAD),
    "a changed claim": (f"{HEAD}.{b64(json.dumps(claims(jti='k')).encode())}.{SIGNATURE}", BAD),
    "another's signature": (f"{HEAD}.{BODY}.{made(jti='k').split('.')[2]}", BAD),
    "a short signature": (f"{HEAD}.{BODY}.AA", BAD),
    # 5. what the client may do
    "a client without keys": (sign(claims("secret"), RSA.private, "RS256"), METHOD),
    "its secret as a key": (sign(claims("secret"), SECRET, "HS256"), METHOD),
    "a public client": (sign(claims("app"), RSA.private, "RS256"), METHOD),
    "another method than the registered one": (sign(claims("posts"), EC.private, "ES256"), METHOD),
    "a disabled client": (made("off"), Reason.CLIENT_DISABLED),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_TAKEN)
def test_not_taken(case: str) -> None:
    text, reason = NOT_TAKEN[case]
    assert outcome(text) is reason


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithm of each signature that is checked."""
    runs: list[str] = []
    verify = ClientKey.verify

    def counted(self: ClientKey, alg: str, data: bytes, signature: bytes) -> bool:
        runs.append(alg)
        return verify(self, alg, data, signature)

    monkeypatch.setattr(ClientKey, "verify", counted)
    return runs


@pytest.mark.parametrize("client_id", ["nobody", "rsa", "ec", "hs", "two", "secret", "app", "off"])
@pytest.mark.parametrize(("key", "alg", "expected"), [(RSA, "RS256", 2), (EC, "ES256", 1), (ED, "EdDSA", 1)])
def test_a_failure_checks_as_many_signatures_whoever_it_is(
    checks: list[str], client_id: str, key: Any, alg: str, expected: int
) -> None:
    """As many as the client with the most keys for the algorithm has."""
    text = sign(claims(client_id), key.private, alg)[:-8] + "AAAAAAAA"
    assert isinstance(outcome(text), Reason)
    assert checks == [alg] * expected


def test_without_a_key_for_an_algorithm_nothing_is_checked(checks: list[str]) -> None:
    rules = AssertionRules(ClientRegistry(CLIENTS[7:8], bytes(32)), issuer=ISSUER, token_endpoint=ENDPOINT)
    for client_id in ("secret", "nobody"):
        with pytest.raises(Refused):
            rules.verify(rules.read(sign(claims(client_id), RSA.private, "RS256"), NOW))
    assert checks == []
    assert repr(rules) == "<AssertionRules without keys>"


def test_what_is_remembered_outlives_the_assertion_and_shows_nothing_of_it() -> None:
    read = RULES.read(made(jti="canary"), NOW)
    assert read.replay_key.startswith("jti:rsa:")
    assert "canary" not in read.replay_key
    assert read.remembered_for(NOW) == 60 + 60
    assert RULES.read(made("ec", jti="canary"), NOW).replay_key != read.replay_key, "each client has ids of its own"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["rsa", ISSUER]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(st.sampled_from(["typ", "kid", "crit", "x"]), JSON, max_size=2))
def test_any_claims_and_any_header_are_taken_or_refused(changes: dict[str, Any], header: dict[str, Any]) -> None:
    """Whoever is recognised is the one whose key it was."""
    text = sign({**claims(), **changes}, RSA.private, "RS256", **header)
    assert outcome(text) in ("rsa", BAD, UNKNOWN)


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from([HEAD, BODY, SIGNATURE, ".", "=", "A", "eyJ"]), max_size=6).map("".join)
)
def test_any_text_is_taken_or_refused(text: str) -> None:
    assert outcome(text) in ({"rsa"} if text == GOOD else {BAD, UNKNOWN})
