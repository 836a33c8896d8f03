"""The admin listener's endpoints: `/metrics`, `/healthz`, `/readyz`. They know nobody: what they say is passed in."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

WRITES: Final = "store_writes"
_ADVISORY: Final = frozenset([WRITES])  # what is wrong there is shown, and keeps nobody from being served
_STOPPED_WITHIN: Final = 1.0  # seconds for requests under way, when the listener ends

Exposition = Callable[[], Awaitable[bytes]]
Readiness = Callable[[], Awaitable[Mapping[str, str | None]]]


def admin_app(*, metrics: Exposition, ready: Readiness) -> web.Application:
    """`metrics` gives the exposition; `ready` names each check with `None`, or with what is wrong.

    `/healthz` answers 200 as long as the process can answer at all: neither Redis nor the upstream would be helped by a
    restart. `/readyz` answers 503 when a check fails, and says which; a fault of an advisory check is shown beside 200.
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
    """Serve the endpoints of `admin_app` on a socket that listens already, until the runner's `cleanup`."""
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
