"""The endpoints: what they answer to whom, with which headers."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from sidecar.ops.console import web as console_web
from sidecar.ops.console.facts import Facts, Tally
from sidecar.ops.console.history import History
from sidecar.ops.console.watchers import MOST
from sidecar.ops.console.web import Console, Ready, Source
from tests.support.console import Clock, facts, worker
from tests.support.waiting import eventually

Client = TestClient[Any, Any]
MakeClient = Callable[..., Awaitable[Client]]
TOKEN = "0123456789abcdef" * 2
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class World:
    """A console, and what it is told."""

    def __init__(self, token: str | None = None, *, beyond: bool = False) -> None:
        self.token, self.draining, self.looks = token, False, 0
        self.shown = facts()
        self.defects: list[Exception] = []
        self.tally = Tally({"admitted 200": 5}, {})
        self.clock = Clock(100.0)
        self.history = History(self.clock)
        source = Source(
            self._facts, self._tallies, lambda: self.token, lambda: self.draining, self.defects.append, self.history
        )
        self.console = Console(source, self._ready, beyond=beyond, monotonic=self.clock, every=0.001)
        self.console._watchers._every = 0.01

    async def _facts(self, ready: Ready) -> Facts:
        self.looks += 1
        good, checks = await ready()
        return replace(self.shown, ready=good, checks=dict(checks), workers=[worker(1, self.tally)])

    async def _tallies(self) -> Mapping[int, Tally]:
        return {1: self.tally}

    async def _ready(self) -> tuple[bool, Mapping[str, str]]:
        return True, {"store": "ok"}

    def app(self) -> web.Application:
        app = web.Application()
        self.console.add_to(app)
        return app


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World, aiohttp_client: MakeClient) -> Client:
    return await aiohttp_client(world.app())


PATHS = ["/", "/console.json", "/console/events", "/console.css", "/console.js"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_kept_from_other_pages_and_caches(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", PATHS[:3])
async def test_under_another_name_nothing_is_shown(client: Client, path: str) -> None:
    response = await client.get(path, headers={"Host": "evil.example"})
    text = await response.text()
    assert response.status == 403
    assert "admin.token" in text
    assert "orders-7d9c4b8f6" not in text


@pytest.mark.parametrize("path", PATHS[:3])
async def test_a_listener_that_others_reach_says_what_to_set(aiohttp_client: MakeClient, path: str) -> None:
    client = await aiohttp_client(World(beyond=True).app())
    response = await client.get(path)
    text = await response.text()
    assert response.status == 403
    assert "Set admin.token in the configuration" in text
    assert "orders-7d9c4b8f6" not in text


@pytest.mark.parametrize("path", PATHS[1:3])
async def test_a_page_of_another_site_reads_nothing(client: Client, path: str) -> None:
    response = await client.get(path, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"})
    assert response.status == 403


async def test_a_link_from_another_site_leads_to_the_page_but_no_frame_does(client: Client) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await client.get("/", headers=link)).status == 200
    frame = await client.get("/", headers={**link, "Sec-Fetch-Dest": "iframe"})
    assert frame.status == 403
    assert "openssl" not in await frame.text(), "a token would not help"


@pytest.mark.parametrize("path", PATHS[:3])
async def test_with_a_token_everybody_is_asked(aiohttp_client: MakeClient, path: str) -> None:
    client = await aiohttp_client(World(TOKEN, beyond=True).app())
    response = await client.get(path)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert "orders-7d9c4b8f6" not in await response.text()
    async with client.get(path, headers=BEARER) as response:
        assert response.status == 200


async def test_the_form_begins_a_session_and_logout_ends_it(aiohttp_client: MakeClient) -> None:
    client = await aiohttp_client(World(TOKEN, beyond=True).app())
    wrong = await client.post("/console/login", data={"token": "x"}, allow_redirects=False)
    assert (wrong.status, "Set-Cookie" in wrong.headers) == (401, False)
    assert "This is not the token" in await wrong.text()
    right = await client.post("/console/login", data={"token": f" {TOKEN}\r\n"}, allow_redirects=False)
    assert (right.status, right.headers["Location"]) == (303, "/")
    cookie = right.cookies["sidecar-console"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Strict", "/", "")
    assert (int(cookie["max-age"]), len(cookie.value), TOKEN in cookie.value) == (43200, 43, False)
    inside = {"Cookie": f"sidecar-console={cookie.value}"}
    page = await client.get("/", headers=inside)
    assert page.status == 200
    assert "Sign out" in await page.text()
    away = await client.post("/console/logout", headers=inside, allow_redirects=False)
    assert (away.status, away.cookies["sidecar-console"].value) == (303, "")
    assert (await client.get("/", headers=inside)).status == 401


async def test_over_tls_the_cookie_is_bound_to_the_host(aiohttp_client: MakeClient) -> None:
    client = await aiohttp_client(World(TOKEN).app())
    headers = {"Origin": "https://console.example", "X-Forwarded-Host": "console.example"}
    response = await client.post("/console/login", data={"token": TOKEN}, headers=headers, allow_redirects=False)
    cookie = response.cookies["__Host-sidecar-console"]
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    page = await client.get("/", headers={"Cookie": f"__Host-sidecar-console={cookie.value}"})
    assert page.status == 200


@pytest.mark.parametrize("path", ["/console/login", "/console/logout"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_no_other_page_logs_anybody_in_or_out(aiohttp_client: MakeClient, path: str, origin: str) -> None:
    client = await aiohttp_client(World(TOKEN).app())
    response = await client.post(path, data={"token": TOKEN}, headers={"Origin": origin}, allow_redirects=False)
    assert (response.status, "Set-Cookie" in response.headers) == (403, False)


async def test_guessing_is_throttled(aiohttp_client: MakeClient) -> None:
    client = await aiohttp_client(World(TOKEN).app())
    statuses = [
        (await client.post("/console/login", data={"token": str(number)}, allow_redirects=False)).status
        for number in range(11)
    ]
    assert statuses == [401] * 10 + [429]
    late = await client.get("/console.json", headers=BEARER)
    assert (late.status, late.headers["Retry-After"]) == (429, "60")


@pytest.mark.parametrize("body", [b"", b"token", b"\xff\xfe", b"token=" + b"x" * 100_000, b"token=a&token=b"])
async def test_an_odd_form_is_a_wrong_token(aiohttp_client: MakeClient, body: bytes) -> None:
    client = await aiohttp_client(World(TOKEN).app())
    assert (await client.post("/console/login", data=body, allow_redirects=False)).status == 401


async def test_scripts_get_the_same_facts(client: Client) -> None:
    given = await (await client.get("/console.json")).json()
    assert given["host"] == "orders-7d9c4b8f6-x2x9k"
    assert given["checks"] == {"store": "ok"}
    assert given["workers"][0]["tally"]["requests"] == {"admitted 200": 5}


# Events.


async def parts(response: Any) -> AsyncIterator[dict[str, str]]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def test_a_watcher_gets_everything_and_then_what_changes(world: World, client: Client) -> None:
    async with client.get("/console/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        coming = parts(response)
        first = await anext(coming)
        assert "refusals" in first
        assert "process" in first
        world.shown = replace(world.shown, version="9.9.9")
        second = await anext(coming)
        while "process" not in second:
            second = await anext(coming)
        assert "9.9.9" in second["process"]
        assert "configuration" not in second


async def test_watchers_are_let_go_when_the_process_drains(world: World, client: Client) -> None:
    world.draining = True
    async with client.get("/console/events") as response:
        assert [set(each) > {"status"} async for each in parts(response)] == [True]


async def test_a_watcher_whose_session_ends_is_let_go(aiohttp_client: MakeClient) -> None:
    world = World(TOKEN)
    client = await aiohttp_client(world.app())
    async with client.get("/console/events", headers=BEARER) as response:
        coming = parts(response)
        await anext(coming)
        world.token = "another" * 6
        assert len([each async for each in coming]) < 3


async def test_asking_for_the_head_of_the_events_watches_nothing(world: World, client: Client) -> None:
    async with client.head("/console/events") as response:
        assert response.status == 405
    assert (world.looks, repr(world.console._watchers)) == (0, "<Watchers 0>")


async def test_what_is_sent_is_written_once_for_all_who_watch(world: World, client: Client) -> None:
    async with client.get("/console/events") as response:
        first = await anext(parts(response))
        written = world.console._watchers._state
        assert {name: json.loads(text) for name, text in written.items()}.keys() == first.keys()


@pytest.mark.parametrize(("path", "page"), [("/console/login", "login"), ("/console/logout", "closed")])
async def test_nobody_without_a_token_holds_up_the_requests_of_others(
    aiohttp_client: MakeClient, monkeypatch: pytest.MonkeyPatch, path: str, page: str
) -> None:
    world = World(TOKEN)
    client, threads = await aiohttp_client(world.app()), []
    write = getattr(world.console._page, page)

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return write(*args, **options)

    monkeypatch.setattr(world.console._page, page, noted)
    headers = {"Origin": "http://evil.example"} if page == "closed" else {}
    assert (await client.post(path, headers=headers)).status in (401, 403)
    assert len(threads) == 1
    assert threads != [threading.main_thread()]


async def test_only_so_many_watch(client: Client) -> None:
    watching = [await client.get("/console/events") for _ in range(MOST)]
    late = await client.get("/console/events")
    assert (late.status, await late.json()) == (503, {"error": "too many watch already"})
    for response in watching:
        response.close()


async def test_a_watcher_that_does_not_read_is_dropped(
    world: World, aiohttp_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_web, "_TAKEN_WITHIN", 0.2)
    client = await aiohttp_client(world.app())
    reader, writer = await asyncio.open_connection(client.host, client.port, limit=1024)
    writer.write(b"GET /console/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: world.console._watchers._count == 1)

    def grow() -> bool:
        world.shown = replace(world.shown, version="x" * 500_000 + str(world.looks))
        return world.console._watchers._count == 0

    await eventually(grow)
    writer.close()
    assert reader


async def test_the_history_is_kept_while_nobody_looks(world: World, client: Client) -> None:
    await eventually(lambda: sum(minute.requests for minute in world.history.minutes()) == 5)
    world.tally = Tally({"admitted 200": 7}, {})
    await eventually(lambda: sum(minute.requests for minute in world.history.minutes()) == 7)
    assert world.looks == 0
    assert repr(world.console) == "<Console <Watchers 0> <Gate 0 sessions>>"


async def test_a_defect_does_not_end_the_history(
    world: World, aiohttp_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.history, "add", lambda _: 1 / 0)
    await aiohttp_client(world.app())
    await eventually(lambda: len(world.defects) > 2)
