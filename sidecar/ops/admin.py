"""The admin listener and its endpoints: `/metrics`, `/healthz`, `/readyz`, the console, and what the operator can ask for. The
caller passes in what they do."""

import ipaddress
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST

from sidecar.ops.admin_site import AdminSite
from sidecar.ops.console.access import PROXY_FIELDS
from sidecar.ops.console.web import LOGIN, LOGOUT, Console, Source

WRITES: Final = "store_writes"
STORE: Final = "store"
_ADVISORY: Final = frozenset([WRITES])  # a fault of these checks is shown, but does not make the sidecar unready
_FORMS: Final = frozenset([LOGIN, LOGOUT])  # for browsers; the console has rules of its own for them
_STOPPED_WITHIN: Final = 1.0  # seconds for requests in progress, when the listener ends

_log: Final = logging.getLogger("sidecar.admin")

Exposition = Callable[[], Awaitable[bytes]]
Readiness = Callable[[], Awaitable[Mapping[str, str | None]]]


class Reload(Protocol):
    """The result of a reload: faults, or else what differs from the configuration before."""

    @property
    def faults(self) -> Sequence[str]:
        """Why nothing was changed."""

    @property
    def applied(self) -> Sequence[str]:
        """What is in force now."""

    @property
    def at_restart(self) -> Sequence[str]:
        """What needs a restart."""


class Impossible(Exception):
    """The sidecar cannot do that now. The message says why, and what to do instead."""


class Operations(NamedTuple):
    """What the endpoints do. `metrics` gives the exposition; `ready` gives each check by name, with `None` or with what is
    wrong; `needs_store` says whether a fault of the store counts after the store has answered once; `drain` gives the seconds
    for which new connections are still served; `roll` gives a line for each worker that was replaced. `reload`, `drain` and
    `roll` may raise `Impossible`. `console` is what the console shows; without it there is none."""

    metrics: Exposition
    ready: Readiness
    needs_store: Callable[[], bool]
    reload: Callable[[], Awaitable[Reload]]
    drain: Callable[[], Awaitable[float]]
    roll: Callable[[], Awaitable[Sequence[str]]]
    console: Source | None = None


class _Readiness:
    """What `/readyz` says. It remembers whether the store has answered."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store_answered = False

    async def __call__(self) -> tuple[bool, dict[str, str]]:
        """Whether the sidecar is ready, and each check."""
        checks = await self._operations.ready()
        self._store_answered |= STORE in checks and checks[STORE] is None
        lenient = self._store_answered and not self._operations.needs_store()
        advisory = _ADVISORY | {STORE} if lenient else _ADVISORY
        good = not any(fault for name, fault in checks.items() if name not in advisory)
        return good, {name: fault or "ok" for name, fault in checks.items()}


def admin_app(operations: Operations, *, beyond: bool = False) -> web.Application:
    """`/healthz` answers 200 as long as the process can answer at all: a restart would help neither Redis nor the upstream.
    `/readyz` answers 503 and names the check when one fails. It answers 200, and shows the fault, when only an advisory check
    fails. The check of the store is advisory once it has succeeded: all replicas share the store, and without a ready one,
    clients would get no answer at all, not even the one that tells them to try again. `POST /reload`, `/drain` and `/roll`
    change the process; only this machine may ask for that. `beyond`: other machines reach the listener.
    """
    readiness = _Readiness(operations)

    async def serve_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await operations.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def serve_health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def serve_readiness(_: web.Request) -> web.Response:
        good, shown = await readiness()
        return web.json_response(
            {"status": "ok" if good else "unavailable", "checks": shown}, status=200 if good else 503
        )

    async def reload(_: web.Request) -> web.Response:
        result = await operations.reload()
        if result.faults:
            return web.json_response({"status": "rejected", "faults": list(result.faults)}, status=422)
        differs = result.applied or result.at_restart
        return web.json_response(
            {
                "status": "reloaded" if differs else "unchanged",
                "changed": list(result.applied),
                "needs_restart": list(result.at_restart),
            }
        )

    async def drain(_: web.Request) -> web.Response:
        return web.json_response({"status": "draining", "delay": await operations.drain()}, status=202)

    async def roll(_: web.Request) -> web.Response:
        return web.json_response({"status": "rolled", "workers": list(await operations.roll())})

    app = web.Application(middlewares=[_only_from_here])
    app.add_routes(
        [
            web.get("/metrics", serve_metrics),
            web.get("/healthz", serve_health),
            web.get("/readyz", serve_readiness),
            web.post("/reload", reload),
            web.post("/drain", drain),
            web.post("/roll", roll),
        ]
    )
    if operations.console is not None:
        Console(operations.console, readiness, beyond=beyond, monotonic=time.monotonic).add_to(app)
    return app


@web.middleware
async def _only_from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a POST from another machine, one that a proxy on this machine passed on from there, and one that a browser sends
    for a page: any page could send it."""
    if request.method == "POST" and request.path not in _FORMS:
        if not _is_local(request) or any(name in request.headers for name in PROXY_FIELDS):
            text = "only this machine may ask for that: run the command where the sidecar runs"
            return web.json_response({"error": text}, status=403)
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            return web.json_response({"error": "a page in a browser may not ask for that"}, status=403)
    try:
        return await handler(request)
    except Impossible as exc:
        return web.json_response({"error": str(exc)}, status=409)


def _is_local(request: web.Request) -> bool:
    """Whether the request comes from this machine: from loopback, or from the address that it was sent to."""
    transport = request.transport
    if transport is None:
        return False
    peer, own = (transport.get_extra_info(name) for name in ("peername", "sockname"))
    try:
        address = ipaddress.ip_address(peer[0])
    except (ValueError, TypeError, LookupError):
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or bool(peer[0] == own[0])


def _reached_from_elsewhere(sock: socket.socket) -> bool:
    """Whether other machines can connect to a listening socket."""
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record of the server says more than that somebody sent no HTTP. aiohttp calls that an error, and quotes the
    header field at fault, which may hold the token or a session."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_log.addFilter(_is_news)


async def serve_admin(sock: socket.socket, operations: Operations) -> web.AppRunner:
    """Serve the endpoints of `admin_app` on a socket that listens already, until the runner's `cleanup` is called."""
    runner = web.AppRunner(
        admin_app(operations, beyond=_reached_from_elsewhere(sock)),
        access_log=None,
        logger=_log,
        handle_signals=False,
        keepalive_timeout=75,
        shutdown_timeout=_STOPPED_WITHIN,
    )
    await runner.setup()
    await AdminSite(runner, sock).start()
    return runner
