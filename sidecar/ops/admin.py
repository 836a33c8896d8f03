"""The admin listener and its endpoints: `/metrics`, `/healthz`, `/readyz`. The caller passes in what they answer."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

WRITES: Final = "store_writes"
_ADVISORY: Final = frozenset([WRITES])  # a fault of these checks is shown, but does not make the sidecar unready
_STOPPED_WITHIN: Final = 1.0  # seconds for requests in progress, when the listener ends

Exposition = Callable[[], Awaitable[bytes]]
Readiness = Callable[[], Awaitable[Mapping[str, str | None]]]


def admin_app(*, metrics: Exposition, ready: Readiness) -> web.Application:
    """`metrics` gives the exposition; `ready` gives each check by name, with `None` or with what is wrong.

    `/healthz` answers 200 as long as the process can answer at all: a restart would help neither Redis nor the upstream.
    `/readyz` answers 503 and names the check when one fails. It answers 200, and shows the fault, when only an advisory check
    fails.
    """

    async def serve_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def serve_health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def serve_readiness(_: web.Request) -> web.Response:
        checks = await ready()
        good = not any(fault for name, fault in checks.items() if name not in _ADVISORY)
        shown = {name: fault or "ok" for name, fault in checks.items()}
        return web.json_response(
            {"status": "ok" if good else "unavailable", "checks": shown}, status=200 if good else 503
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", serve_metrics),
            web.get("/healthz", serve_health),
            web.get("/readyz", serve_readiness),
        ]
    )
    return app


async def serve_admin(sock: socket.socket, *, metrics: Exposition, ready: Readiness) -> web.AppRunner:
    """Serve the endpoints of `admin_app` on a socket that listens already, until the runner's `cleanup` is called."""
    runner = web.AppRunner(
        admin_app(metrics=metrics, ready=ready),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=75,
        shutdown_timeout=_STOPPED_WITHIN,
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
