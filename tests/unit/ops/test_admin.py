"""The admin endpoints say what they are given."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import TestClient

from sidecar.ops.admin import admin_app, serve_admin

Client = Callable[..., Awaitable[TestClient[Any, Any]]]


def app(checks: Mapping[str, str | None]) -> Any:
    async def metrics() -> bytes:
        return b"a_metric 1\n"

    async def ready() -> Mapping[str, str | None]:
        return checks

    return admin_app(metrics=metrics, ready=ready)


async def test_metrics_come_in_the_text_format(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({}))
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert await response.read() == b"a_metric 1\n"


async def test_readiness_names_every_check(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({"store": "is stale", "upstream": None}))
    response = await client.get("/readyz")
    assert response.status == 503
    assert await response.json() == {"status": "unavailable", "checks": {"store": "is stale", "upstream": "ok"}}


async def test_ready_is_200(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({"store": None}))
    assert (await client.get("/readyz")).status == 200


async def test_alive_does_not_depend_on_readiness(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({"store": "is gone"}))
    assert (await client.get("/healthz")).status == 200


async def test_there_is_nothing_else(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({}))
    assert (await client.get("/")).status == 404
    assert (await client.post("/metrics")).status == 405


async def test_the_endpoints_are_served_on_a_socket_that_listens_already() -> None:
    async def metrics() -> bytes:
        return b"a_metric 2\n"

    async def ready() -> Mapping[str, str | None]:
        return {}

    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        runner = await serve_admin(sock, metrics=metrics, ready=ready)
        port = sock.getsockname()[1]
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert await response.read() == b"a_metric 2\n"
        await runner.cleanup()
