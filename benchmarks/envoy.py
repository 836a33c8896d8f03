"""Envoy's `jwt_authn` filter: with or without its cache of verified tokens, and doing more of what ours does."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.certificate import Certificate
from benchmarks.machine import find, free_port
from benchmarks.place import Place, Started
from benchmarks.tokens import AUDIENCE, CACHE_SIZE, ISSUER, KEY, KID, SCOPE, encode

_TYPES = "type.googleapis.com/envoy.extensions.filters"


def envoy(*, cache: bool, same_job: bool = False) -> Callable[[Place], Started]:
    """How to start it, with one worker thread and no access log. `same_job`: scope per route, claims as headers."""

    def start(place: Place) -> Started:
        port = free_port()
        path = place.folder / "envoy.yaml"
        path.write_text(json.dumps(_configuration(port, place, cache=cache, same_job=same_job)))
        options = ["--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
        process = place.start([find("envoy") or "envoy", "-c", str(path), *options])
        process.wait_for_port(port)
        return Started(port, (process,))

    return start


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _configuration(port: int, place: Place, *, cache: bool, same_job: bool) -> dict[str, Any]:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "api"}}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [_jwt(cache=cache, same_job=same_job), *([_rbac()] if same_job else []), router],
    }  # fmt: skip
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    chain = {"filters": filters, **(_tls(place.certificate) if place.certificate else {})}
    listener = {"name": "in", "address": _address(port), "filter_chains": [chain]}
    endpoints = {"lb_endpoints": [{"endpoint": {"address": _address(place.upstream)}}]}
    cluster = {
        "name": "api", "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "api", "endpoints": [endpoints]},
    }  # fmt: skip
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _tls(certificate: Certificate) -> dict[str, Any]:
    files = {
        "certificate_chain": {"filename": str(certificate.chain)}, "private_key": {"filename": str(certificate.key)},
    }  # fmt: skip
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    context = {"@type": kind, "common_tls_context": {"tls_certificates": [files]}}
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _jwt(*, cache: bool, same_job: bool) -> dict[str, Any]:
    jwks = {"keys": [{"kty": "oct", "alg": "HS256", "kid": KID, "k": encode(KEY.encode())}]}
    provider: dict[str, Any] = {
        "issuer": ISSUER, "audiences": [AUDIENCE], "forward": False, "local_jwks": {"inline_string": json.dumps(jwks)},
    }  # fmt: skip
    if cache:
        provider["jwt_cache_config"] = {"jwt_cache_size": CACHE_SIZE}
    if same_job:
        claims = {"client_id": "x-auth-client-id", "sub": "x-auth-subject", "scope": "x-auth-scope"}
        provider["claim_to_headers"] = [{"claim_name": claim, "header_name": name} for claim, name in claims.items()]
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}
    config = {"@type": f"{_TYPES}.http.jwt_authn.v3.JwtAuthentication", "providers": {"p": provider}, "rules": [rule]}
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": config}


def _rbac() -> dict[str, Any]:
    scope = {"header": {"name": "x-auth-scope", "string_match": {"safe_regex": {"regex": f"(.* )?{SCOPE}( .*)?"}}}}
    path = {"url_path": {"path": {"prefix": "/orders/"}}}
    method = {"header": {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|POST"}}}}
    policy = {"permissions": [{"and_rules": {"rules": [path, method]}}], "principals": [scope]}
    rules = {"action": "ALLOW", "policies": {"orders": policy}}
    return {"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{_TYPES}.http.rbac.v3.RBAC", "rules": rules}}
