"""The section `clients`."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.core.oauth.secrets import hash_secret
from tests.support.assertions import ec_pair, rsa_pair
from tests.support.settings import CLIENT, assert_refused, changed, settings_of

HASHES = [hash_secret(f"s{number}", bytes(16), "sha256") for number in range(3)]
PAIR = ec_pair()
PEM = PAIR.public
PUBLIC_CLIENT = {"client_id": "c", "token_endpoint_auth_method": "none", "grant_types": ["refresh_token"]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no secret": (changed(clients=[{"client_id": "c"}]), "clients[0]: give exactly one of client_secret"),
    "two secrets": (
        changed(clients=[{**CLIENT, "client_secret_hash": hash_secret("s", bytes(16), "sha256")}]),
        "clients[0]: give exactly one of client_secret",
    ),
    "an empty secret": (changed(clients=[{"client_id": "c", "client_secret": ""}]), "clients[0].client_secret: must not"),
    "a secret for a hash": (
        changed(clients=[{"client_id": "c", "client_secret_hash": "canary"}]),
        "clients[0].client_secret_hash: is not a secret hash",
    ),
    "three secrets": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": [HASHES[0], HASHES[1], HASHES[2]]}]),
        "clients[0].client_secret_hashes: name one or two",
    ),
    "no secret in a list": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": []}]), "clients[0].client_secret_hashes: name one or two",
    ),
    "the same secret twice": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": HASHES[:1] * 2}]),
        "clients[0].client_secret_hashes: name different ones",
    ),
    "a secret for a hash in a list": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": [HASHES[0], "canary"]}]),
        "clients[0].client_secret_hashes[1]: is not a secret hash",
    ),
    "a hash and a list": (
        changed(clients=[{"client_id": "c", "client_secret_hash": HASHES[0], "client_secret_hashes": HASHES[:2]}]),
        "clients[0]: give exactly one of client_secret, client_secret_hash, client_secret_hashes",
    ),
    "a name with a line feed": (changed(clients=[{**CLIENT, "client_name": "a\nb"}]), "clients[0].client_name: use printable"),
    "an unknown method": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "tls_client_auth"}]),
        "clients[0].token_endpoint_auth_method: must be one of 'client_secret_basic'",
    ),
    "a public client with a secret": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "none", "grant_types": ["refresh_token"]}]),
        "clients[0].token_endpoint_auth_method: a public client (none) has no client_secret",
    ),
    "a public client for itself": (
        changed(clients=[{"client_id": "c", "token_endpoint_auth_method": "none"}]),
        "clients[0].token_endpoint_auth_method: a public client (none) proves nothing, so it cannot have client_credentials",
    ),
    "a public client that asks about tokens": (
        changed(clients=[{**PUBLIC_CLIENT, "introspect": True}]), "clients[0].introspect: a public client may not ask",
    ),
    "a public client with a key": (
        changed(clients=[{**PUBLIC_CLIENT, "public_key": PEM}]),
        "clients[0].token_endpoint_auth_method: a public client (none) has no public_key",
    ),
    "a key method without a key": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "private_key_jwt"}]),
        "clients[0].token_endpoint_auth_method: private_key_jwt needs the client's public_key or jwks",
    ),
    "a secret beside a pinned key": (
        changed(clients=[{**CLIENT, "public_key": PEM, "token_endpoint_auth_method": "private_key_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret has no use with private_key_jwt",
    ),
    "a key beside a pinned secret": (
        changed(clients=[{**CLIENT, "public_key": PEM, "token_endpoint_auth_method": "client_secret_basic"}]),
        "clients[0].token_endpoint_auth_method: public_key has no use with client_secret_basic",
    ),
    "a secret method without a secret": (
        changed(clients=[{"client_id": "c", "public_key": PEM, "token_endpoint_auth_method": "client_secret_post"}]),
        "clients[0].token_endpoint_auth_method: client_secret_post needs client_secret, client_secret_hash",
    ),
    "an HMAC by a hash": (
        changed(clients=[{"client_id": "c", "client_secret_hash": HASHES[0], "token_endpoint_auth_method": "client_secret_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret_jwt needs client_secret itself: a hash cannot check an HMAC",
    ),
    "an HMAC by a short secret": (
        changed(clients=[{"client_id": "c", "client_secret": "canary", "token_endpoint_auth_method": "client_secret_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret must be at least 32 bytes long",
    ),
    "a key that is none": (
        changed(clients=[{"client_id": "c", "public_key": "canary"}]), "clients[0].public_key[0]: is no public key in PEM",
    ),
    "no public key": (changed(clients=[{"client_id": "c", "public_key": []}]), "clients[0].public_key: name at least one"),
    "a short RSA key": (
        changed(clients=[{"client_id": "c", "public_key": [PEM, rsa_pair(1024).public]}]),
        "clients[0].public_key[1]: is an RSA key of 1024 bits: 2048 to 8192 are taken",
    ),
    "a private JWK": (
        changed(clients=[{"client_id": "c", "jwks": {"keys": [{**PAIR.jwk, "d": "canary"}]}}]),
        "clients[0].jwks.keys[0]: holds a private key",
    ),
    "a JWKS without keys": (changed(clients=[{"client_id": "c", "jwks": {}}]), "clients[0].jwks.keys: is required"),
    "no JWK": (changed(clients=[{"client_id": "c", "jwks": {"keys": []}}]), "clients[0].jwks.keys: name at least one"),
    "a JWK's kid twice": (
        changed(clients=[{"client_id": "c", "jwks": {"keys": [{**PAIR.jwk, "kid": "1"}] * 2}}]),
        "clients[0].jwks.keys: give each key a kid of its own",
    ),
    "no redirect URI": (
        changed(clients=[{**CLIENT, "grant_types": ["authorization_code"]}]),
        "clients[0].redirect_uris: name at least one for authorization_code, such as https://",
    ),
    "no redirect URI for two grants": (
        changed(clients=[{**CLIENT, "grant_types": ["implicit", "authorization_code"]}]),
        "clients[0].redirect_uris: name at least one for authorization_code and implicit",
    ),
    "a redirect URI twice": (
        changed(clients=[{**CLIENT, "redirect_uris": ["https://a/"] * 2}]), "clients[0].redirect_uris: name each only once",
    ),
    "a redirect URI in plain": (
        changed(clients=[{**CLIENT, "redirect_uris": ["https://a/", "http://a/"]}]),
        "clients[0].redirect_uris[1]: must be https, or http on 127.0.0.1",
    ),
    "an unknown grant": (
        changed(clients=[{**CLIENT, "grant_types": ["client_credentials", "password"]}]),
        "clients[0].grant_types[1]: must be one of 'client_credentials'",
    ),
    "a scope list": (changed(clients=[{**CLIENT, "scope": ["a"]}]), "clients[0].scope: write scopes as one string"),
    "a scope with a quote": (changed(clients=[{**CLIENT, "scope": 'a"'}]), "clients[0].scope: write scopes as one"),
    "a client id with a space at its end": (changed(clients=[{**CLIENT, "client_id": "c "}]), "clients[0].client_id: use"),
    "a client id with a line feed": (changed(clients=[{**CLIENT, "client_id": "a\nb"}]), "clients[0].client_id: use"),
    "a role with a comma": (changed(clients=[{**CLIENT, "roles": ["a,b"]}]), "clients[0].roles[0]: must not hold a comma"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "a public client": changed(clients=[PUBLIC_CLIENT]),
    "a native app": changed(
        clients=[{**PUBLIC_CLIENT, "grant_types": ["authorization_code"], "redirect_uris": ["http://127.0.0.1/cb"]}]
    ),
    "two secrets": changed(clients=[{"client_id": "c", "client_secret_hashes": HASHES[:2], "introspect": True}]),
    "a key": changed(clients=[{"client_id": "c", "public_key": PEM}]),
    "two kinds of keys": changed(
        clients=[
            {
                "client_id": "c",
                "public_key": [PEM, rsa_pair().public],
                "jwks": {"keys": [PAIR.jwk]},
                "token_endpoint_auth_method": "private_key_jwt",
            }
        ]
    ),
    "a key and a secret": changed(clients=[{**CLIENT, "public_key": PEM}]),
    "a secret for an HMAC": changed(
        clients=[{"client_id": "c", "client_secret": "s" * 32, "token_endpoint_auth_method": "client_secret_jwt"}]
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])
