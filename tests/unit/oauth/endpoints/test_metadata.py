"""oauth.endpoints.metadata: what is published is true, and cacheable."""

import asyncio
import json
from typing import Any

import pytest

from sidecar.core.jose.client_keys import from_secret, read_pem
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.oauth.endpoints.metadata import MAX_AGE, PublicDocument, capabilities, jwks, metadata
from tests.support.keys import PEMS, public_pem

HS = SigningKey.hmac("h", "HS256", "canary-" * 10)
ES = SigningKey.private("e", "ES256", PEMS["ES256"], Window(4e9))
TOKEN, REVOKE, INTROSPECT, AUTHORIZE = "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/authorize"
JWKS = "/oauth/jwks"
SECRETS = (parse_secret_hash(hash_secret("s", bytes(16), "sha256")),)
GRANTS = {"client_credentials", "refresh_token", "authorization_code"}


def client(*grants: str, scope: str = "", **fields: Any) -> Client:
    return Client(**{"client_id": "c", "secrets": SECRETS, "grant_types": frozenset(grants), "scope": tuple(scope.split())} | fields)  # fmt: skip


MACHINE = client("client_credentials", scope="a b")
APP = client("authorization_code", "refresh_token", scope="b c", secrets=(), token_endpoint_auth_method="none")
OLD = client("implicit", scope="d")
ASKER = client("client_credentials", introspect=True, token_endpoint_auth_method="client_secret_basic")
SIGNER = client("client_credentials", secrets=(), keys=(read_pem(public_pem(PEMS["ES256"])),))
KEYED = client(
    "client_credentials", keys=(from_secret("s" * 64),), token_endpoint_auth_method="client_secret_jwt", introspect=True
)


def described(*clients: Client, paths: Any = (TOKEN, REVOKE, JWKS), issuer: str = "https://i", ring: Any = None) -> dict[str, Any]:  # fmt: skip
    return metadata(issuer, capabilities(clients, GRANTS, paths), paths, ring or KeyRing([HS]))


def test_the_metadata_of_a_small_server() -> None:
    assert described(MACHINE) == {
        "issuer": "https://i",
        "token_endpoint": "https://i/oauth/token",
        "revocation_endpoint": "https://i/oauth/revoke",
        "scopes_supported": ["a", "b"],
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def test_the_metadata_of_a_large_server() -> None:
    paths = (TOKEN, REVOKE, INTROSPECT, AUTHORIZE, JWKS)
    document = described(MACHINE, APP, OLD, ASKER, SIGNER, KEYED, paths=paths, ring=KeyRing([HS, ES]))
    assert document == {
        "issuer": "https://i",
        "authorization_endpoint": "https://i/oauth/authorize",
        "token_endpoint": "https://i/oauth/token",
        "revocation_endpoint": "https://i/oauth/revoke",
        "introspection_endpoint": "https://i/oauth/introspect",
        "jwks_uri": "https://i/oauth/jwks",
        "scopes_supported": ["a", "b", "c", "d"],
        "response_types_supported": ["code", "token"],
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": ["authorization_code", "client_credentials", "implicit", "refresh_token"],
        "token_endpoint_auth_methods_supported": (
            methods := ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
        ),
        "token_endpoint_auth_signing_alg_values_supported": (algs := ["ES256", "HS256", "HS384", "HS512"]),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algs,
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": ["HS256", "HS384", "HS512"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


ABSENT: dict[str, tuple[tuple[Client, ...], set[str]]] = {
    "nobody": ((), {"scopes_supported"}),
    "a disabled client": ((APP._replace(disabled=True),), {"scopes_supported", "code_challenge_methods_supported"}),
    "no code": ((MACHINE, OLD), {"code_challenge_methods_supported"}),
    "no assertions": ((MACHINE, APP), {"token_endpoint_auth_signing_alg_values_supported"}),
    "keys that may not be used": (
        (SIGNER._replace(secrets=SECRETS, token_endpoint_auth_method="client_secret_post"),),
        {"token_endpoint_auth_signing_alg_values_supported"},
    ),
    "symmetric keys alone": ((MACHINE,), {"jwks_uri"}),
    "nobody to be redirected": ((MACHINE,), {"authorization_endpoint", "response_modes_supported"}),
    "nobody who may ask": ((MACHINE,), {"introspection_endpoint"}),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_nobody_can_use_is_not_named(case: str) -> None:
    clients, absent = ABSENT[case]
    document = described(*clients, paths=(TOKEN, AUTHORIZE, INTROSPECT, JWKS))
    assert not absent & document.keys()
    assert isinstance(document["response_types_supported"], list)  # required


def test_without_the_login_page_its_grants_are_not_offered() -> None:
    document = described(OLD, MACHINE)
    assert document["grant_types_supported"] == ["client_credentials"]
    assert document["response_types_supported"] == []


@pytest.mark.parametrize("issuer", ["https://i/tenant", "https://i/tenant/"])
def test_endpoints_lie_below_the_issuers_path(issuer: str) -> None:
    document = described(MACHINE, issuer=issuer)
    assert (document["issuer"], document["token_endpoint"]) == (issuer, "https://i/tenant/oauth/token")


# Serving a document.


def ask(document: PublicDocument, *conditions: str, method: str = "GET") -> Reply:
    headers = tuple(("If-None-Match", condition) for condition in conditions)
    return asyncio.run(document(EndpointRequest(method, JWKS, "", headers, b"", "peer")))


def test_the_key_set_holds_asymmetric_keys_alone_also_before_their_window() -> None:
    ring = KeyRing([HS, ES])
    reply = ask(PublicDocument(jwks(ring)))
    assert json.loads(reply.body) == {"keys": [ES.public_jwk()]}
    headers = dict(reply.headers)
    assert headers["Cache-Control"] == f"public, max-age={MAX_AGE}"
    assert (headers["Content-Type"], headers["Access-Control-Allow-Origin"]) == ("application/json", "*")
    assert ask(PublicDocument(jwks(KeyRing([HS])))).body == b'{"keys": []}\n'


def test_a_document_is_sent_again_only_when_it_changed() -> None:
    ring = KeyRing([HS, ES])
    document = PublicDocument(jwks(ring))
    first = ask(document)
    tag = dict(first.headers)["ETag"]
    for conditions in ([tag], [f"W/{tag}"], [f'"x", {tag}'], ['"x"', tag], ["*"]):
        reply = ask(document, *conditions)
        assert (reply.status, reply.body, dict(reply.headers)["ETag"]) == (304, b"", tag)
    for conditions in ([], ['"x"'], [tag.strip('"')], [""], [tag[:-2] + '"']):
        assert ask(document, *conditions).body == first.body
    ring = KeyRing([ES, HS, SigningKey.private("r", "RS256", PEMS["RS256"])])
    changed = ask(PublicDocument(jwks(ring)), tag)
    assert (changed.status, len(json.loads(changed.body)["keys"])) == (200, 2)


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_other_methods_are_told_which(method: str) -> None:
    reply = ask(PublicDocument(jwks(KeyRing([HS]))), method=method)
    assert (reply.status, dict(reply.headers)["Allow"]) == (405, "GET, HEAD")
