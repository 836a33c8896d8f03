"""The workloads: what is asked of every contender, and what is aimed at. A further one is a row of `WORKLOADS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import (
    ENVOY,
    ENVOY_CACHE,
    ENVOY_SAME_JOB,
    HAPROXY,
    NGINX,
    NGINX_NJS,
    NGINX_SERVICE,
    SIDECAR,
    Contender,
)
from benchmarks.generators import generate
from benchmarks.load import INGRESS, POSTED, Load, closes, fresh, load, opened
from benchmarks.machine import Invalid
from benchmarks.running import Running
from benchmarks.tokens import token

CLIENTS = 10_000
THREADS = 4  # of the generator of handshakes
PLAIN = (SIDECAR, NGINX, HAPROXY, NGINX_NJS, ENVOY, ENVOY_CACHE, ENVOY_SAME_JOB)
TLS = (SIDECAR, NGINX, HAPROXY, ENVOY_CACHE)


@dataclass(frozen=True)
class Ask:
    """How a workload is put on a contender. `folder` is for files that its rounds share."""

    running: Running
    seconds: int
    connections: int
    folder: Path


@dataclass(frozen=True)
class Workload:
    """`name` is that on the command line. `targets`: ours ÷ a contender's, by the contender's name; `check` raises
    `Invalid` when a contender does not do what this workload needs beyond the usual."""

    name: str
    about: str
    put: Callable[[Ask], Load]
    contenders: tuple[Contender, ...] = PLAIN
    targets: Mapping[str, float] = field(default_factory=dict)
    check: Callable[[Running], None] | None = None
    tls: bool = False


def _ingress(ask: Ask) -> Load:
    running = ask.running
    return load(running.port, ask.seconds, ask.connections, bearer=running.token, script=INGRESS, more=[fresh()])


def _ingress_tls(ask: Ask) -> Load:
    running, more = ask.running, [fresh()]
    return load(running.port, ask.seconds, ask.connections, bearer=running.token, script=INGRESS, more=more, tls=True)


def _repeat(ask: Ask) -> Load:
    return load(ask.running.port, ask.seconds, ask.connections, bearer=ask.running.token)


def _clients(ask: Ask) -> Load:
    tokens = ask.folder / "tokens"
    if not tokens.exists():
        tokens.write_text("".join(f"{token(jti=f'{each:022}')}\n" for each in range(CLIENTS)))
    return load(ask.running.port, ask.seconds, ask.connections, more=[str(tokens), "0"])


def _post(ask: Ask) -> Load:
    running, more = ask.running, [fresh(), str(POSTED)]
    return load(running.port, ask.seconds, ask.connections, bearer=running.token, script=INGRESS, more=more)


def _connect(ask: Ask) -> Load:
    running, before = ask.running, opened()
    done = load(
        running.port,
        ask.seconds,
        ask.connections,
        bearer=running.token,
        script=INGRESS,
        more=[fresh()],
        close=True,
    )
    if (connections := opened() - before) < done.requests:
        raise Invalid(f"{done.requests} requests on {connections} connections")
    return done


def _closes(running: Running) -> None:
    if not closes(running.port, running.token):
        raise Invalid(f"{running.contender.name}: leaves a connection open that is to be closed")


def _handshakes(kind: str) -> Callable[[Ask], Load]:
    def put(ask: Ask) -> Load:
        done = generate("handshakes", kind, ask.running.port, ask.running.token, ask.seconds, THREADS)
        # The first connection of each thread has no session to take up.
        wanted = done["requests"] - THREADS if kind == "resumed" else 0
        if done["resumed"] != wanted:
            raise Invalid(f"{done['resumed']} of {done['requests']} handshakes were resumed")
        return Load(done["requests"], done["requests"] / done["seconds"])

    return put


WORKLOADS = (
    Workload(
        "ingress",
        "GET with the head that an ingress sends, about ten fields: `X-Request-ID`, `traceparent` and the path are new in every"
        " request, and a fourth of the paths have a query, so that no two heads are equal on any connection. nginx with"
        " `auth_request` and its service are one row, which asks Redis about each request.",
        _ingress,
        (*PLAIN, NGINX_SERVICE),
        {ENVOY.name: 0.42, ENVOY_CACHE.name: 0.65, NGINX_NJS.name: 0.95, HAPROXY.name: 1.4, NGINX.name: 2.1},
    ),
    Workload(
        "repeat",
        "GET with the same head in every request but for its path, which is one of a thousand in turn.",
        _repeat,
        targets={ENVOY.name: 0.28, ENVOY_CACHE.name: 0.4, NGINX_NJS.name: 0.6, HAPROXY.name: 0.9, NGINX.name: 1.4},
    ),
    Workload(
        "many-clients",
        f"GET with {CLIENTS:,} different tokens in turn, else as in `repeat`. All are known after the warm-up to those who"
        " remember tokens.",
        _clients,
        targets={ENVOY.name: 0.45, ENVOY_CACHE.name: 0.65, NGINX_NJS.name: 0.95, HAPROXY.name: 1.4, NGINX.name: 2.2},
    ),
    Workload(
        "post",
        f"POST of {POSTED:,} bytes of JSON with their length announced, with heads as in `ingress`.",
        _post,
        targets={ENVOY.name: 0.5, NGINX.name: 2.5},
        check=Running.check_post,
    ),
    Workload(
        "connect",
        "A connection for each GET, which says `Connection: close`; heads as in `ingress`. Connections that end on this machine"
        " keep their ports for a while (TIME_WAIT): Linux uses such a port again for another connection to the same address"
        " after a second on the loopback interface (`tcp_tw_reuse` 2, the default), each contender has a port of its own, and"
        " a round fails when a connection cannot be made. The kernel's count of accepted connections shows that no connection"
        " carried two requests.",
        _connect,
        targets={ENVOY.name: 0.8},
        check=_closes,
    ),
    Workload(
        "tls",
        "As `ingress`, over connections of TLS 1.3 that are kept: records, no handshakes. A certificate of ECDSA P-256.",
        _ingress_tls,
        TLS,
        tls=True,
    ),
    Workload(
        "tls-connect",
        "A connection of TLS 1.3 with a full handshake for each GET, as in `ingress`. The load comes from"
        f" {THREADS} threads of Python, which do not use up a contender's core.",
        _handshakes("full"),
        TLS,
        tls=True,
    ),
    Workload(
        "tls-resumed",
        "As `tls-connect`, but each thread takes up the session of its last connection by the ticket that came with it. Each"
        " handshake is seen to be resumed.",
        _handshakes("resumed"),
        TLS,
        tls=True,
    ),
)
