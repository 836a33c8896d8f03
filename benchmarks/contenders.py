"""Who takes part, each with the configuration that an operator would give it for this job."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import yaml

from benchmarks.envoy import envoy
from benchmarks.haproxy import haproxy
from benchmarks.load import ask
from benchmarks.machine import OTHER_CORE, Invalid, Process, find, free_port
from benchmarks.place import Place, Started, Store
from benchmarks.tokens import AUDIENCE, ISSUER, KEY, KID, SCOPE

NJS = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
CLIENT, SECRET = "bench", "bench-secret-bench-secret-bench-secret"
REFRESHING = "bench-refresh"  # the client that gets refresh tokens, too; with the same secret
HS256 = {"kid": KID, "alg": "HS256", "secret": KEY}
BODY = '{"id": 1, "item": "lamp", "price": 130.25}'  # 42 bytes
LENGTH = "/orders/length"


@dataclass(frozen=True)
class Contender:
    """`guards`: a request without a token is refused. `issues`: its tokens come from itself, and are revoked there."""

    name: str
    start: Callable[[Place], Started]
    missing: Callable[[], str | None]
    guards: bool = True
    issues: bool = False


def nginx(place: Place, port: int, http: str, *, modules: str = "", connections: int = 4096) -> Process:
    """One worker of nginx in the foreground; everything it writes goes to the folder."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in kinds)
    path = place.folder / "nginx.conf"
    user = "" if os.geteuid() else "user root; "  # or the worker could not read the folder
    path.write_text(
        f"{modules}{user}daemon off; worker_processes 1; pid {place.folder}/nginx.pid; error_log stderr warn;\n"
        f"worker_rlimit_nofile {connections}; events {{ worker_connections {connections}; }}\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {folders} {http} }}\n"
    )
    process = place.start([find("nginx") or "nginx", "-c", str(path), "-p", str(place.folder), "-e", "stderr"])
    process.wait_for_port(port)
    return process


def start_upstream(place: Place, locations: str = "") -> int:
    """The API server that all stand before; gives its port. At `LENGTH` it says how long the body is."""
    port = free_port()
    length = f"location = {LENGTH} {{ return 200 $content_length; }}"
    server = f"listen 127.0.0.1:{port} backlog=4096; default_type application/json; {locations}"
    nginx(place, port, f"server {{ {server} {length} location / {{ return 200 '{BODY}'; }} }}")
    return port


def start_redis(place: Place) -> Store:
    """An empty Redis without persistence, away from the contender's core."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = place.start([*command, "--dir", str(place.folder)], OTHER_CORE)
    process.wait_for_port(port)
    client = redis.Redis(port=port)
    client.ping()  # what a client says first is said
    return Store(process, port, client)


def _pool(place: Place) -> str:
    return f"upstream api {{ server 127.0.0.1:{place.upstream}; keepalive 256; keepalive_requests 1000000000; }}"


_FORWARD = 'proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'


def _listen(place: Place, port: int) -> str:
    """Of nginx; with TLS where the place has a certificate. Session tickets are on by default, TLS 1.3 from 1.23.4 on."""
    if place.certificate is None:
        return f"listen 127.0.0.1:{port} backlog=4096;"
    files = f"ssl_certificate {place.certificate.chain}; ssl_certificate_key {place.certificate.key};"
    files += " ssl_protocols TLSv1.2 TLSv1.3;"
    return f"listen 127.0.0.1:{port} ssl backlog=4096; {files}"


def _forwarding(connections: int, directives: str) -> Callable[[Place], Started]:
    def start(place: Place) -> Started:
        port = free_port()
        http = f"{_pool(place)} server {{ {_listen(place, port)} location / {{ {_FORWARD} {directives} }} }}"
        return Started(port, (nginx(place, port, http, connections=connections),))

    return start


def bare_nginx(*, connections: int = 4096, directives: str = "", note: str = "") -> Contender:
    """nginx that forwards and asks nobody for a token. `directives` stand beside `proxy_pass`, `note` in the name."""
    name = f"nginx proxy_pass, no authentication{note}"
    return Contender(name, _forwarding(connections, directives), _needs("nginx"), guards=False)


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


def _auth_request(place: Place, answer: str, more: str = "", modules: str = "") -> Started:
    """nginx that asks `answer` about each request; `more` stands beside the server."""
    port = free_port()
    http = (
        f"{more} {_pool(place)} server {{ {_listen(place, port)} location / {{ auth_request /_auth; {_FORWARD} }}"
        f"location = /_auth {{ internal; {answer} }} }}"
    )
    return Started(port, (nginx(place, port, http, modules=modules),))


def _start_njs(place: Place) -> Started:
    (place.folder / "auth.js").write_text(_NJS_SCRIPT % (KEY, ISSUER, AUDIENCE, SCOPE))
    script = f"js_path {place.folder}; js_import auth from auth.js;"
    return _auth_request(place, "js_content auth.check;", script, f"load_module {NJS};\n")


def _start_service(place: Place) -> Started:
    store, port = start_redis(place), free_port()
    service = place.start([sys.executable, "-m", "benchmarks.auth_service", str(port), str(store.port)])
    service.wait_for_port(port)
    asked = f"upstream auth {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 1000000000; }}"
    ask = 'proxy_pass http://auth; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off;'
    front = _auth_request(place, f'{ask} proxy_set_header Content-Length "";', asked)
    return Started(front.port, (*front.processes, service), store)


def start_sidecar(
    place: Place,
    store: Store,
    *,
    ready: bool = True,
    workers: int = 1,
    sections: Mapping[str, Any] | None = None,
    **tokens: object,
) -> Started:
    """Ours, with a Redis that it may share; `tokens` says more in that section of the configuration, and `sections` has other
    ones; lists are added to those that are there. `ready`: return only when it is, and not already when it has been started."""
    port, admin = free_port(), free_port()
    refused = [{"path": f"/internal/{number}/**", "access": "deny"} for number in range(8)]
    client = {"client_id": CLIENT, "client_secret": SECRET, "scope": SCOPE, "roles": ["analyst"]}
    refreshing = {**client, "client_id": REFRESHING, "grant_types": ["client_credentials", "refresh_token"]}
    config: dict[str, Any] = {
        "listen": f"127.0.0.1:{port}",
        "workers": workers,
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "trusted_proxies": ["127.0.0.1/32"],  # the load is the ingress in front, and says who the client is
        "upstream": {"url": f"http://127.0.0.1:{place.upstream}"},
        "store": {"url": f"redis://127.0.0.1:{store.port}/0"},
        "tokens": {"issuer": ISSUER, "audience": AUDIENCE, "signing_keys": [HS256], **tokens},
        "clients": [client, refreshing],
        "routes": [
            {"path": "/health", "access": "public"},
            *refused,
            {"path": "/orders/**", "methods": ["GET", "POST"], "scope": SCOPE},
        ],
    }
    for name, section in (sections or {}).items():
        config[name] = [*config.get(name, []), *section] if isinstance(section, list) else section
    if place.certificate:
        config["tls"] = {"certificate": str(place.certificate.chain), "key": str(place.certificate.key)}
    path = place.folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(config))
    process = place.start([sys.executable, "-m", "sidecar", "serve", "--config", str(path)])
    if ready:
        process.wait_for_port(port)
        _wait_until_ready(admin)
    return Started(port, (process,), store, admin)


def _wait_until_ready(admin: int) -> None:
    """A new process refuses requests until it knows the revocations in Redis."""
    deadline = time.monotonic() + 30
    while ask(admin, path="/readyz")[0] != 200:
        if time.monotonic() > deadline:
            raise Invalid("ours does not become ready")
        time.sleep(0.1)


def sidecar(**tokens: object) -> Contender:
    """Ours with everything on: Redis, the revocation feed, routes, scopes, metrics, identity headers, logs. `tokens` as in
    `start_sidecar`."""

    def start(place: Place) -> Started:
        return start_sidecar(place, start_redis(place), **tokens)

    return Contender("sidecar", start, _needs("redis-server"), issues=True)


def _needs(program: str) -> Callable[[], str | None]:
    return lambda: None if find(program) else f"{program} is not installed"


def _no_njs() -> str | None:
    return None if NJS.exists() else "nginx's njs module is not installed"


SIDECAR = sidecar()
NGINX = bare_nginx()
HAPROXY = Contender("HAProxy jwt_verify HS256", haproxy, _needs("haproxy"))
NGINX_NJS = Contender("nginx + njs HS256", _start_njs, _no_njs)
ENVOY = Contender("Envoy jwt_authn HS256", envoy(cache=False), _needs("envoy"))
ENVOY_CACHE = Contender("Envoy jwt_authn HS256 with its cache", envoy(cache=True), _needs("envoy"))
ENVOY_SAME_JOB = Contender(
    "Envoy with its cache, RBAC by scope, claims as headers", envoy(cache=True, same_job=True), _needs("envoy")
)
NGINX_SERVICE = Contender("nginx auth_request: aiohttp, PyJWT, Redis", _start_service, _needs("redis-server"))
