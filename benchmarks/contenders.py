"""Who takes part, each with the configuration that an operator would give it for this job."""

import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import Process, find, free_port

KEY = "0123456789abcdef0123456789abcdef"
ISSUER, AUDIENCE, SCOPE = "https://issuer.example", "api", "orders:read"
NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
SECRET = "bench-secret-bench-secret-bench-secret"  # noqa: S105  for loopback


@dataclass(frozen=True)
class Place:
    """Where a contender works: a folder of its own, its core, and the upstream's and Redis' ports."""

    folder: Path
    core: int
    upstream: int
    redis: int


@dataclass(frozen=True)
class Contender:
    """`start` gives the process and the port of its listener. `guards`: a request without a token is refused."""

    name: str
    start: Callable[[Place], tuple[Process, int]]
    missing: Callable[[], str | None]
    guards: bool = True


def token() -> str:
    """A token for those who do not issue any, with the claims that ours has."""
    now = int(time.time())
    header = {"alg": "HS256", "typ": "at+jwt", "kid": "1"}
    claims = {
        "iss": ISSUER, "sub": "bench", "aud": AUDIENCE, "client_id": "bench", "iat": now, "nbf": now, "exp": now + 3600,
        "jti": "x" * 22, "scope": SCOPE, "clientId": "bench", "roles": ["analyst"], "createdAt": now * 1000,
        "expiredate": (now + 3600) * 1000,
    }  # fmt: skip
    signed = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + _encode(hmac.digest(KEY.encode(), signed, hashlib.sha256))).decode()


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def nginx(folder: Path, core: int, port: int, http: str, modules: str = "") -> Process:
    """One worker of nginx in the foreground."""
    program = find("nginx") or "nginx"
    path = folder / "nginx.conf"
    path.write_text(
        f"{modules}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {http} }}\n"
    )
    process = Process([program, "-c", str(path), "-p", str(folder)], core, folder / "log")
    process.wait_for_port(port)
    return process


def upstream(folder: Path, core: int) -> tuple[Process, int]:
    """The API server that all stand before: 42 bytes of JSON."""
    port = free_port()
    body = json.dumps({"id": 1, "item": "lamp", "price": 30.25})
    server = f"server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json; return 200 '{body}'; }}"
    return nginx(folder, core, port, server), port


def _pool(place: Place) -> str:
    return f"upstream api {{ server 127.0.0.1:{place.upstream}; keepalive 256; keepalive_requests 1000000000; }}"


_FORWARD = 'proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'


def _start_nginx(place: Place) -> tuple[Process, int]:
    port = free_port()
    http = f"{_pool(place)} server {{ listen 127.0.0.1:{port}; location / {{ {_FORWARD} }} }}"
    return nginx(place.folder, place.core, port, http), port


_NJS_SCRIPT = """
import crypto from 'crypto';
function check(r) {
    const found = /^Bearer ([\\w-]+)\\.([\\w-]+)\\.([\\w-]+)$/i.exec(r.headersIn.Authorization || '');
    if (!found) { r.return(401); return; }
    const mac = crypto.createHmac('sha256', '%s').update(found[1] + '.' + found[2]).digest('base64url');
    if (mac !== found[3]) { r.return(401); return; }
    const claims = JSON.parse(Buffer.from(found[2], 'base64url'));
    const good = claims.exp > Date.now() / 1000 && claims.iss === '%s' && claims.aud === '%s'
        && claims.scope.split(' ').includes('%s');
    r.return(good ? 204 : 401);
}
export default {check};
"""


def _start_njs(place: Place) -> tuple[Process, int]:
    port = free_port()
    (place.folder / "auth.js").write_text(_NJS_SCRIPT % (KEY, ISSUER, AUDIENCE, SCOPE))
    http = (
        f"js_path {place.folder}; js_import auth from auth.js; {_pool(place)}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ auth_request /_auth; {_FORWARD} }}"
        f"location = /_auth {{ internal; js_content auth.check; }} }}"
    )
    return nginx(place.folder, place.core, port, http, f"load_module {NJS};\n"), port


def _envoy(*, cache: bool, same_job: bool = False) -> Callable[[Place], tuple[Process, int]]:
    def start(place: Place) -> tuple[Process, int]:
        program = find("envoy") or "envoy"
        port = free_port()
        path = place.folder / "envoy.yaml"
        path.write_text(json.dumps(_envoy_config(port, place.upstream, cache=cache, same_job=same_job)))
        command = [program, "-c", str(path), "--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
        process = Process(command, place.core, place.folder / "log")
        process.wait_for_port(port)
        return process, port

    return start


def _envoy_config(port: int, upstream_port: int, *, cache: bool, same_job: bool) -> dict[str, Any]:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    jwks = {"keys": [{"kty": "oct", "alg": "HS256", "kid": "1", "k": _encode(KEY.encode()).decode()}]}
    provider: dict[str, Any] = {
        "issuer": ISSUER, "audiences": [AUDIENCE], "forward": False, "local_jwks": {"inline_string": json.dumps(jwks)},
    }  # fmt: skip
    if cache:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    if same_job:
        claims = {"client_id": "x-auth-client-id", "sub": "x-auth-subject", "scope": "x-auth-scope"}
        provider["claim_to_headers"] = [{"claim_name": claim, "header_name": name} for claim, name in claims.items()]
    types = "type.googleapis.com/envoy.extensions.filters"
    jwt = {
        "@type": f"{types}.http.jwt_authn.v3.JwtAuthentication", "providers": {"p": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }  # fmt: skip
    scope = {"header": {"name": "x-auth-scope", "string_match": {"safe_regex": {"regex": f"(.* )?{SCOPE}( .*)?"}}}}
    orders = {
        "and_rules": {
            "rules": [
                {"url_path": {"path": {"prefix": "/orders/"}}},
                {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
            ]
        }
    }
    rbac = {
        "@type": f"{types}.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"orders": {"permissions": [orders], "principals": [scope]}}},
    }  # fmt: skip
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "api"}}]}]},
        "http_filters": [
            {"name": "envoy.filters.http.jwt_authn", "typed_config": jwt},
            *([{"name": "envoy.filters.http.rbac", "typed_config": rbac}] if same_job else []),
            {"name": "envoy.filters.http.router",
             "typed_config": {"@type": f"{types}.http.router.v3.Router"}},
        ],
    }  # fmt: skip
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": address(upstream_port)}}
    cluster = {
        "name": "api", "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }  # fmt: skip
    listener = {"name": "in", "address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _start_sidecar(place: Place) -> tuple[Process, int]:
    """Ours with everything on: Redis, the revocation feed, routes, scopes, metrics, identity headers."""
    port = free_port()
    routes = [{"path": f"/internal/{number}/**", "access": "deny"} for number in range(8)]
    config = {
        "listen": f"127.0.0.1:{port}",
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstream": {"url": f"http://127.0.0.1:{place.upstream}"},
        "store": {"url": f"redis://127.0.0.1:{place.redis}/0"},
        "tokens": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "signing_keys": [{"kid": "1", "alg": "HS256", "secret": KEY}],
        },
        "clients": [{"client_id": "bench", "client_secret": SECRET, "scope": SCOPE, "roles": ["analyst"]}],
        "routes": [
            {"path": "/health", "access": "public"},
            *routes,
            {"path": "/orders/**", "methods": ["GET"], "scope": SCOPE},
        ],
    }
    path = place.folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "sidecar", "serve", "--config", str(path)]
    process = Process(command, place.core, place.folder / "log")
    process.wait_for_port(port)
    return process, port


def _needs(program: str) -> Callable[[], str | None]:
    return lambda: None if find(program) else f"{program} is not installed"


SIDECAR = Contender("sidecar", _start_sidecar, _needs("redis-server"))
CONTENDERS = (
    SIDECAR,
    Contender("nginx proxy_pass, no authentication", _start_nginx, _needs("nginx"), guards=False),
    Contender("nginx + njs HS256", _start_njs, lambda: None if NJS.exists() else "the njs module is not installed"),
    Contender("Envoy jwt_authn HS256", _envoy(cache=False), _needs("envoy")),
    Contender("Envoy jwt_authn HS256 with its cache", _envoy(cache=True), _needs("envoy")),
    Contender(
        "Envoy with its cache, RBAC by scope, claims as headers", _envoy(cache=True, same_job=True), _needs("envoy")
    ),
)
