"""The console in a real browser: headless Chromium, driven by Playwright.

`SCREENSHOTS=docs` (a folder) makes the pictures of the documentation anew. They show made-up facts, because a night worth a
picture takes an hour; page, style sheet, script and events are the real ones.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from sidecar.ops.console.facts import Facts
from tests.e2e.test_browser import CONTRAST
from tests.support.console import facts, served, troubled, worker
from tests.support.process import Sidecar, get, running
from tests.support.upstream import Received, Upstream, reply

SIZES = {"desktop": {"width": 1200, "height": 1050}, "phone": {"width": 390, "height": 844}}
TOKEN = "0123456789abcdef" * 2
WORST = replace(
    troubled(),
    ready=False,
    checks={"upstream": "the API server does not accept connections", "store": "ok"},
    cannot_start="no thread",
    workers=[replace(troubled().workers[0], memory_held=140_000_000)],
    keys_lapsed=True,
    host="h" * 64,
)
PAGES: dict[str, Facts] = {
    "console": troubled(),
    "worst": WORST,
    "empty": facts(workers=[worker(1)], clients=[], certificates=[]),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport=SIZES["desktop"])
    made.set_default_timeout(15_000)
    yield made
    made.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: what the policy blocked, most of all. A test ends with none."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Iterator[Page]:
    made = context.new_page()
    listen(made, complaints)
    yield made
    assert complaints == []


def listen(page: Page, complaints: list[str]) -> None:
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Sidecar]:
    with running(tmp_path_factory.mktemp("sidecar"), shared_upstream.url) as process:
        yield process


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Sidecar]:
    """One with a token."""
    admin = {"listen": "127.0.0.1:0", "token": TOKEN}
    with running(tmp_path_factory.mktemp("sidecar"), shared_upstream.url, admin=admin) as process:
        yield process


BROKEN = """each => [...each.textContent.matchAll(/\\w+/g)].some(word => {
    const range = document.createRange();
    range.setStart(each.firstChild, word.index);
    range.setEnd(each.firstChild, word.index + word[0].length);
    return new Set([...range.getClientRects()].map(line => line.top)).size > 1;
})"""
"""Whether a word of an element stands on two lines."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_and_reads_well(chromium: Browser, name: str, scheme: Any, size: str, tmp_path: Path) -> None:
    """No sideways scrolling, contrast of 4.5 to 1 (WCAG 2.2 AA), targets of 24 pixels; and the pictures."""
    folder, complaints = Path(os.environ.get("SCREENSHOTS", tmp_path)), list[str]()
    with (
        served(PAGES[name], token=TOKEN, hour=name in ("console", "worst")) as address,
        chromium.new_context(
            viewport=SIZES[size], color_scheme=scheme, extra_http_headers={"Authorization": f"Bearer {TOKEN}"}
        ) as context,
    ):
        page = context.new_page()
        listen(page, complaints)
        page.goto(address)
        expect(page.locator("#live")).to_have_text("Live")
        if name == "console":
            page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(CONTRAST) >= 4.5
        for word in page.locator("#refusals .why code, thead th").all():
            assert word.evaluate(BROKEN) is False, word.inner_text()
        for target in page.locator("button, a:not(.skip), summary").all():
            box = target.bounding_box()
            assert box
            assert box["height"] >= 20, box
        assert complaints == []


def test_a_refusal_shows_without_a_reload(page: Page, alone: Sidecar) -> None:
    page.goto(alone.admin)
    expect(page.get_by_text("No request was refused, and none failed, since the workers started.")).to_be_visible()
    page.evaluate("window.same = true")
    assert get(f"{alone.public}/orders/<b>7")[0] in (400, 401)
    assert get(f"{alone.public}/orders/8231")[0] == 401
    row = page.locator("#refusals").get_by_role("row", name="/orders/8231")
    expect(row).to_contain_text("missing_token")
    expect(page.locator("#tiles")).to_contain_text("Refused")
    expect(page.locator("#reasons")).to_contain_text("The caller sends an access token")
    assert page.evaluate("window.same"), "the page was not loaded again"


def test_what_the_reader_has_opened_stays_open(page: Page, alone: Sidecar) -> None:
    page.goto(alone.admin)
    table = page.get_by_text("As a table")
    table.focus()
    page.keyboard.press("Enter")
    section = page.locator("#config-upstream summary")
    section.focus()
    page.keyboard.press("Enter")
    moment = page.locator("#updated").inner_text()
    expect(page.locator("#updated")).not_to_have_text(moment)
    expect(page.get_by_role("row", name="0 to 5 minutes ago")).to_be_visible()
    expect(page.locator("#config-upstream").get_by_text("upstream.max_connections")).to_be_visible()
    expect(section).to_be_focused()


def test_everything_is_reached_by_the_keyboard(page: Page, alone: Sidecar) -> None:
    page.goto(alone.admin)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to what needs attention")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to what needs attention")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#attention")).to_be_focused()
    names = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        names.add(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
    assert {"As a table", "/metrics", "/console.json"} <= names


def test_a_chart_is_told_to_those_who_do_not_see_it(page: Page, alone: Sidecar) -> None:
    page.goto(alone.admin)
    expect(page.get_by_role("img", name="Requests per minute")).to_be_visible()


def test_it_says_when_it_is_not_live(
    page: Page, complaints: list[str], shared_upstream: Upstream, tmp_path: Path
) -> None:
    with running(tmp_path, shared_upstream.url) as sidecar:
        page.goto(sidecar.admin)
        expect(page.locator("#live")).to_have_text("Live")
        sidecar.stop()
        expect(page.locator("#live")).to_have_text("Not connected")
    assert all("ERR_CONNECTION_REFUSED" in text or "ERR_INCOMPLETE" in text for text in complaints), complaints
    complaints.clear()


def test_without_javascript_the_page_is_whole(chromium: Browser, alone: Sidecar) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(alone.admin)
        expect(page.get_by_role("heading", name="What needs attention")).to_be_visible()
        expect(page.get_by_text("As a table")).to_be_visible()
        assert page.locator("noscript meta[http-equiv=refresh]").get_attribute("content") == "10"


def test_the_token_leads_in_and_the_button_out(page: Page, complaints: list[str], locked: Sidecar) -> None:
    page.goto(locked.admin)
    expect(page).to_have_title("Sign in · Sidecar console")
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the token in admin.token.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) >= 4.5
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#live")).to_have_text("Live")
    (cookie,) = page.context.cookies()
    shown = {name: cookie.get(name) for name in ("name", "path", "httpOnly", "secure", "sameSite")}
    assert shown == {"name": "sidecar-console", "path": "/", "httpOnly": True, "secure": False, "sameSite": "Strict"}
    assert TOKEN not in page.content() + str(cookie)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.context.cookies() == []
    assert all("401" in text for text in complaints), complaints
    complaints.clear()


def test_another_sites_page_can_neither_read_nor_frame_the_console(context: BrowserContext, alone: Sidecar) -> None:
    """The browser of an operator visits a hostile page, which knows where the console is."""

    def hostile(received: Received, connection: Any) -> bool:
        connection.sendall(
            reply(200, b"<!doctype html><title>Cats</title><iframe></iframe>", "Content-Type: text/html")
        )
        return True

    with Upstream(hostile) as site:
        page = context.new_page()
        page.goto(site.url)
        read = page.evaluate(
            """async address => {
              const tried = [`${address}/`, `${address}/console.json`, `${address}/console/events`].map(url =>
                fetch(url, { credentials: "include" }).then(answer => answer.text(), () => "refused"));
              return Promise.all(tried);
            }""",
            alone.admin,
        )
        assert read == ["refused"] * 3
        with page.expect_response(lambda response: response.url.startswith(alone.admin)) as framed:
            page.locator("iframe").evaluate("(frame, address) => { frame.src = address }", f"{alone.admin}/")
        assert framed.value.status == 403
        rebound = urlsplit(alone.admin)
        assert get(f"http://127.0.0.1:{rebound.port}/", Host=f"cats.example:{rebound.port}")[0] == 403
