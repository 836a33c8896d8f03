"""The admin endpoints say what they are given."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient

from sidecar.ops.admin import Impossible, Operations, _is_local, _reached_from_elsewhere, admin_app, serve_admin
from sidecar.ops.console.history import History
from sidecar.ops.console.web import Source

Client = Callable[..., Awaitable[TestClient[Any, Any]]]


class Reloaded(NamedTuple):
    faults: Sequence[str] = ()
    applied: Sequence[str] = ()
    at_restart: Sequence[str] = ()


NOTHING = Reloaded()


def operations(
    checks: Mapping[str, str | None],
    reloaded: Reloaded = NOTHING,
    text: bytes = b"a_metric 1\n",
    *,
    needs_store: bool = False,
) -> Operations:
    async def metrics() -> bytes:
        return text

    async def ready() -> Mapping[str, str | None]:
        return checks

    async def reload() -> Reloaded:
        return reloaded

    async def drain() -> float:
        return 2.5

    async def roll() -> Sequence[str]:
        raise Impossible("there is one worker")

    return Operations(metrics, ready, lambda: needs_store, reload, drain, roll)


def app(checks: Mapping[str, str | None], reloaded: Reloaded = NOTHING) -> Any:
    return admin_app(operations(checks, reloaded))


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


@pytest.mark.parametrize("needs_store", [False, True])
async def test_a_store_that_has_answered_once_may_be_away(aiohttp_client: Client, needs_store: bool) -> None:
    checks: dict[str, str | None] = {"store": "is stale", "upstream": None}
    client = await aiohttp_client(admin_app(operations(checks, needs_store=needs_store)))
    assert (await client.get("/readyz")).status == 503
    checks["store"] = None
    assert (await client.get("/readyz")).status == 200
    checks["store"] = "is stale"
    response = await client.get("/readyz")
    assert response.status == (503 if needs_store else 200)
    assert (await response.json())["checks"]["store"] == "is stale"
    checks["upstream"] = "is gone"
    assert (await client.get("/readyz")).status == 503


async def test_alive_does_not_depend_on_readiness(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({"store": "is gone"}))
    assert (await client.get("/healthz")).status == 200


async def test_there_is_nothing_else(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({}))
    assert (await client.get("/")).status == 404
    assert (await client.post("/metrics")).status == 405


@pytest.mark.parametrize(
    ("reloaded", "status", "answer"),
    [
        (Reloaded(), 200, {"status": "unchanged", "changed": [], "needs_restart": []}),
        (
            Reloaded(applied=["a"], at_restart=["b"]),
            200,
            {"status": "reloaded", "changed": ["a"], "needs_restart": ["b"]},
        ),
        (Reloaded(faults=["x: y"]), 422, {"status": "rejected", "faults": ["x: y"]}),
    ],
)
async def test_a_reload_says_what_it_did(
    aiohttp_client: Client, reloaded: Reloaded, status: int, answer: dict[str, Any]
) -> None:
    client = await aiohttp_client(app({}, reloaded))
    response = await client.post("/reload")
    assert (response.status, await response.json()) == (status, answer)
    assert (await client.get("/reload")).status == 405


async def test_a_drain_says_how_long_it_takes(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({}))
    response = await client.post("/drain")
    assert (response.status, await response.json()) == (202, {"status": "draining", "delay": 2.5})


async def test_what_is_impossible_is_a_conflict(aiohttp_client: Client) -> None:
    client = await aiohttp_client(app({}))
    response = await client.post("/roll")
    assert (response.status, await response.json()) == (409, {"error": "there is one worker"})


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize("path", ["/reload", "/drain", "/roll"])
async def test_no_page_can_have_a_browser_ask(aiohttp_client: Client, path: str, header: dict[str, str]) -> None:
    client = await aiohttp_client(app({}))
    response = await client.post(path, headers=header)
    assert (response.status, await response.json()) == (403, {"error": "a page in a browser may not ask for that"})


@pytest.mark.parametrize(
    "field", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto", "X-Real-IP"]
)
@pytest.mark.parametrize("path", ["/reload", "/drain", "/roll"])
async def test_nobody_can_ask_through_a_proxy_on_this_machine(aiohttp_client: Client, path: str, field: str) -> None:
    client = await aiohttp_client(app({}))
    response = await client.post(path, headers={field: "192.0.2.1"})
    assert response.status == 403
    assert "only this machine may ask" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("peer", "own", "local"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.9", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.4", "10.1.2.3", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("", "", False),
    ],
)
def test_only_this_machine_may_ask(peer: str, own: str, local: bool) -> None:
    places = {"peername": (peer, 1), "sockname": (own, 2)}
    request: Any = SimpleNamespace(transport=SimpleNamespace(get_extra_info=places.get))
    assert _is_local(request) is local
    assert not _is_local(SimpleNamespace(transport=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: sidecar-console=canary\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_no_http_fills_no_log(caplog: pytest.LogCaptureFixture, head: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        runner = await serve_admin(sock, operations({}))
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(head)
        async with asyncio.timeout(5):
            assert b" 400 " in await reader.readline()
        writer.close()
        await runner.cleanup()
    assert caplog.text == ""


async def test_a_defect_of_an_endpoint_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> bytes:
        raise RuntimeError("a defect")

    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        runner = await serve_admin(sock, operations({})._replace(metrics=broken))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/metrics"
        async with ClientSession() as session, session.get(url) as response:
            assert response.status == 500
        await runner.cleanup()
    assert "RuntimeError: a defect" in caplog.text


async def test_the_endpoints_are_served_on_a_socket_that_listens_already() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        runner = await serve_admin(sock, operations({}, text=b"a_metric 2\n"))
        port = sock.getsockname()[1]
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert await response.read() == b"a_metric 2\n"
        await runner.cleanup()


@pytest.mark.parametrize(
    ("family", "address", "reached"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", False),
    ],
)
def test_a_listener_beyond_loopback_is_recognised(family: int, address: str, reached: bool) -> None:
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        assert _reached_from_elsewhere(sock) is reached


def console() -> Source:
    async def nothing(*_: object) -> Any:
        return {}

    return Source(nothing, nothing, lambda: "x" * 32, lambda: False, lambda _: None, History(lambda: 0.0))


async def test_the_forms_of_the_console_are_for_browsers_and_nothing_else_is(aiohttp_client: Client) -> None:
    client = await aiohttp_client(admin_app(operations({})._replace(console=console())))
    browser = {"Origin": f"http://{client.host}:{client.port}", "Sec-Fetch-Site": "same-origin"}
    assert (await client.post("/console/login", headers=browser, data={"token": "y"})).status == 401
    assert (await client.post("/drain", headers=browser)).status == 403
    assert (await client.post("/console.json", headers=browser)).status == 403
    assert (await client.get("/readyz")).status == 200
