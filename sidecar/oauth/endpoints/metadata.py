"""The public documents of the authorization server: its metadata (RFC 8414) and its verification keys (RFC 7517).

Rules:
- Both are computed from the current configuration. A capability that it does not enable is not listed.
- Caches may keep both for `MAX_AGE` and revalidate them with `If-None-Match`. A key must be in the set for longer than that
  before it signs, so that every cached copy of the set contains it by then.
- A script of any origin may read both (`Access-Control-Allow-Origin: *`): their content does not depend on the caller, and
  clients in browsers need them. `core.http.cross_origin` has the rules for the other endpoints, and for preflights.
- The endpoints are below the issuer: `https://api.example.com/tenant` has its token endpoint at
  `https://api.example.com/tenant/oauth/token`. A proxy in front may strip that path or keep it: the sidecar answers at both.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sidecar.core.base64url import encode
from sidecar.core.jose.keys import KeyRing
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.clients import AUTH_METHODS, Client
from sidecar.core.replies import JSON, EndpointRequest, Reply, refusal
from sidecar.oauth.answering import JsonRefusing, answer

MAX_AGE: Final = 300
"""Seconds for which caches may keep the documents."""


class Capabilities(NamedTuple):
    """What at least one enabled client may do. Each sequence has the order in which the metadata lists it."""

    grant_types: Sequence[str]
    response_types: Sequence[str]
    auth_methods: Sequence[str]
    introspection_auth_methods: Sequence[str]
    assertion_algs: Sequence[str]
    introspection_assertion_algs: Sequence[str]
    scopes: Sequence[str]


def capabilities(clients: Iterable[Client], grant_types: Container[str], paths: Container[str]) -> Capabilities:
    """The capabilities of these clients: their grant types at the token endpoint (`grant_types` are those that it supports)
    and, when `paths` contains the authorization endpoint, those that it serves."""
    live = [client for client in clients if not client.disabled]
    named = {grant for client in live for grant in client.grant_types}
    redirected = {"authorization_code": "code", "implicit": "token"} if endpoint_paths.AUTHORIZE in paths else {}
    asking = [client for client in live if client.introspect]
    return Capabilities(
        grant_types=[grant for grant in sorted(named) if grant in grant_types or grant in redirected],
        response_types=[kind for grant, kind in redirected.items() if grant in named],
        auth_methods=_methods(live),
        introspection_auth_methods=_methods(asking),
        assertion_algs=_assertion_algs(live),
        introspection_assertion_algs=_assertion_algs(asking),
        scopes=list(dict.fromkeys(scope for client in live for scope in client.scope)),
    )


def _methods(clients: Iterable[Client]) -> list[str]:
    used = {method for client in clients for method in client.auth_methods}
    return [method for method in AUTH_METHODS if method in used]


def _assertion_algs(clients: Iterable[Client]) -> list[str]:
    signing = [client for client in clients if any(method.endswith("_jwt") for method in client.auth_methods)]
    return sorted({alg for client in signing for key in client.keys for alg in key.algs})


def metadata(issuer: str, capabilities: Capabilities, paths: Iterable[str], ring: KeyRing) -> dict[str, object]:
    """The document of RFC 8414 section 2, for an issuer that is a URL. `paths` are the endpoints that the sidecar serves."""
    base = issuer.removesuffix("/")
    served = set(paths)
    if not capabilities.response_types:
        served.discard(endpoint_paths.AUTHORIZE)
    if not capabilities.introspection_auth_methods:
        served.discard(endpoint_paths.INTROSPECT)
    document: dict[str, object] = {"issuer": issuer}
    document |= {name: base + path for path, name in endpoint_paths.MEMBERS.items() if path in served}
    if endpoint_paths.JWKS in served and ring.public_jwks():
        document["jwks_uri"] = base + endpoint_paths.JWKS
    if capabilities.scopes:
        document["scopes_supported"] = list(capabilities.scopes)
    document["response_types_supported"] = list(capabilities.response_types)  # required, even when empty
    document["grant_types_supported"] = list(capabilities.grant_types)
    for endpoint, methods, algs in (
        ("token", capabilities.auth_methods, capabilities.assertion_algs),
        ("revocation", capabilities.auth_methods, capabilities.assertion_algs),
        ("introspection", capabilities.introspection_auth_methods, capabilities.introspection_assertion_algs),
    ):
        if f"{endpoint}_endpoint" in document:
            document[f"{endpoint}_endpoint_auth_methods_supported"] = list(methods)
            if algs:
                document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = list(algs)
    if "authorization_endpoint" in document:
        modes = {"code": "query", "token": "fragment"}
        document["response_modes_supported"] = [modes[kind] for kind in capabilities.response_types]
        document["authorization_response_iss_parameter_supported"] = True  # RFC 9207
    if "code" in capabilities.response_types:
        document["code_challenge_methods_supported"] = ["S256"]
    return document


_REFUSING: Final = JsonRefusing(lambda refused: refusal(refused.reason, refused.detail))


class PublicDocument:
    """Serves a JSON document. Call it with a request."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self._body = json.dumps(document).encode() + b"\n"
        self._tag = f'"{encode(hashlib.sha256(self._body).digest()[:18])}"'

    async def __call__(self, request: EndpointRequest) -> Reply:
        """200, or 304 when the caller has the document already; 405 for methods other than GET and HEAD."""
        return await answer(request, self._answer, methods=("GET", "HEAD"), refusing=_REFUSING)

    async def _answer(self, request: EndpointRequest) -> Reply:
        caching = (
            ("Cache-Control", f"public, max-age={MAX_AGE}"),
            ("ETag", self._tag),
            ("Access-Control-Allow-Origin", "*"),
        )
        if _names(request.header_values("if-none-match"), self._tag):
            return Reply(304, caching, b"")
        return Reply(200, (JSON, *caching), self._body)


def jwks(ring: KeyRing) -> dict[str, object]:
    """The key set of RFC 7517 section 5: empty when all keys are symmetric."""
    return {"keys": ring.public_jwks()}


def _names(conditions: Iterable[str], tag: str) -> bool:
    """Whether `If-None-Match` names the tag (RFC 9110 section 13.1.2), by weak comparison; `*` matches every tag."""
    found = [each.strip().removeprefix("W/") for value in conditions for each in value.split(",")]
    return tag in found or "*" in found
