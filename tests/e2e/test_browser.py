"""The login and consent pages in a real browser: headless Chromium, driven by Playwright.

`SCREENSHOTS=docs` (a folder) makes the pictures of the README anew.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.certificates import Authority
from tests.support.people import PASSWORD, USERNAME, clients, code_request, users
from tests.support.process import ISSUER, UNTHROTTLED, Sidecar, configuration, running
from tests.support.upstream import Received, Upstream, reply

SIZES = {"desktop": {"width": 960, "height": 640}, "phone": {"width": 390, "height": 640}}
SCHEMES = ["light", "dark"]
DESK = "https://desk.example.com/callback"
# The lowest contrast of a text to what is behind it (WCAG 2.2, "relative luminance").
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *")].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...texts.map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }));
}"""


def callback_page(received: Received, connection: Any) -> bool:
    """What the client's application shows."""
    connection.sendall(
        reply(200, b"<!doctype html><title>Order Desk</title><h1>Welcome back</h1>", "Content-Type: text/html")
    )
    return True


@pytest.fixture(scope="module")
def application() -> Iterator[Upstream]:
    """The client's own server, where the browser comes back."""
    with Upstream(callback_page) as server:
        yield server


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream, application: Upstream
) -> Iterator[Sidecar]:
    sections = configuration(shared_upstream.url)
    sections["tokens"]["issuer"] = "http://127.0.0.1"
    sections["login"] = {"site": "Example Orders", "scopes": {"profile": "See your name and role"}}
    sections["users"] = users()
    sections["throttling"] = UNTHROTTLED
    sections["clients"] = clients(f"{application.url}/cb")
    with Sidecar(tmp_path_factory.mktemp("sidecar"), sections) as process:
        yield process.ready()


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
def page(context: BrowserContext) -> Page:
    """A tab. Everything that the browser complains about fails the test: what the policy blocked, most of all."""
    made = context.new_page()
    complaints: list[str] = []
    made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.complaints = complaints  # type: ignore[attr-defined]
    return made


def asked(served: Sidecar, application: Upstream, **changes: str | None) -> str:
    """The address to which the application sends the browser."""
    return f"{served.public}/oauth/authorize?{urlencode(code_request(f'{application.url}/cb', **changes))}"


def answer(page: Page) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(page.url).query))


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(USERNAME)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_login_wrong_then_right_then_consent_leads_back(page: Page, served: Sidecar, application: Upstream) -> None:
    page.goto(asked(served, application))
    expect(page).to_have_title("Sign in · Example Orders")
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("The user name or password is wrong.")
    expect(page.get_by_label("User name")).to_have_value(USERNAME)
    expect(page.get_by_label("Password")).to_be_focused()
    log_in(page)
    expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()
    expect(page.get_by_role("listitem")).to_have_text(["See orders orders:read"])
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    assert page.url.startswith(f"{application.url}/cb?")
    assert answer(page).keys() == {"code", "state", "iss"}
    assert answer(page)["state"] == "s t&ä=/#"
    (received,) = [each for each in application.take() if each.target.startswith("/cb")]
    assert received.values("referer") == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_reads_well(
    chromium: Browser, served: Sidecar, application: Upstream, scheme: Any, size: str, tmp_path: Path
) -> None:
    """No sideways scrolling, contrast of 4.5 to 1 (WCAG 2.2 AA), targets of 24 pixels; and the pictures of the README."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    with chromium.new_context(viewport=SIZES[size], color_scheme=scheme) as context:
        page = context.new_page()
        for name in ("login", "consent"):
            page.goto(asked(served, application, client_id="desk", redirect_uri=DESK, scope="orders:read profile"))
            page.mouse.move(0, 0)
            page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
            check_layout(page)
            if name == "login":
                log_in(page)


def check_layout(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate(CONTRAST) >= 4.5
    for target in page.locator("button, a, input:not([type=hidden])").all():
        box = target.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 20, box


def test_denial_is_told_to_the_application(page: Page, served: Sidecar, application: Upstream) -> None:
    page.goto(asked(served, application))
    log_in(page)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    assert (answer(page)["error"], answer(page)["state"]) == ("access_denied", "s t&ä=/#")


def test_back_and_again_gives_another_code(page: Page, served: Sidecar, application: Upstream) -> None:
    page.goto(asked(served, application))
    log_in(page)
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    first = answer(page)["code"]
    page.go_back()
    expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    assert answer(page)["code"] != first


def test_back_to_the_login_page_never_asks_to_send_the_password_again(
    page: Page, served: Sidecar, application: Upstream
) -> None:
    """Each page in the history is the answer to a GET, and says how things are now."""
    page.goto(asked(served, application))
    log_in(page)
    expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()
    for step in (page.reload, page.go_back):
        response = step()
        assert response
        assert (response.request.method, response.status) == ("GET", 200)
        expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()


def test_a_form_of_a_tab_that_was_left_open_is_shown_again(
    context: BrowserContext, page: Page, served: Sidecar, application: Upstream
) -> None:
    page.goto(asked(served, application))
    other = context.new_page()
    other.goto(asked(served, application))
    log_in(other)
    expect(other.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()
    log_in(page)
    expect(page.get_by_role("alert")).to_have_text("This page was too old. Please try again.")
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()


def test_the_keyboard_is_enough(page: Page, served: Sidecar, application: Upstream) -> None:
    page.goto(asked(served, application))
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type(USERNAME)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()
    order = [
        page.get_by_role("link", name="Not you?"),
        page.get_by_role("checkbox"),
        page.get_by_role("button", name="Allow"),
        page.get_by_role("button", name="Deny"),
    ]
    for each in order:
        page.keyboard.press("Tab")
        expect(each).to_be_focused()
        assert each.evaluate("e => getComputedStyle(e).outlineStyle") == "solid", "the focus is seen"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()


def test_a_remembered_consent_is_not_asked_for_again_and_logging_out_ends_the_session(
    page: Page, served: Sidecar, application: Upstream
) -> None:
    page.goto(asked(served, application, client_id="other"))
    log_in(page)
    page.get_by_label("Don’t ask me again").check()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    page.goto(asked(served, application, client_id="other", state="again"))
    assert answer(page)["state"] == "again", "no page was shown"
    page.goto(f"{served.public}/oauth/logout")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto(asked(served, application, client_id="other"))
    expect(page).to_have_title("Sign in · Example Orders")
    log_in(page)
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()


def test_somebody_else_can_log_in_from_the_consent_page(page: Page, served: Sidecar, application: Upstream) -> None:
    page.goto(asked(served, application))
    log_in(page)
    page.get_by_role("link", name="Not you?").click()
    expect(page).to_have_title("Sign in · Example Orders")
    log_in(page)
    expect(page.get_by_role("heading", name="Allow Order Desk?")).to_be_visible()


def test_pages_work_without_scripts(chromium: Browser, served: Sidecar, application: Upstream) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(asked(served, application))
        log_in(page)
        page.get_by_role("button", name="Allow").click()
        page.wait_for_url(f"{application.url}/cb?*")


def test_the_token_of_the_implicit_grant_comes_in_the_fragment(
    page: Page, served: Sidecar, application: Upstream
) -> None:
    application.take()
    page.goto(asked(served, application, client_id="old", response_type="token", code_challenge=None))
    log_in(page)
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    given = dict(parse_qsl(urlsplit(page.url).fragment))
    assert given.keys() == {"access_token", "token_type", "expires_in", "scope", "state", "iss"}
    assert {each.target for each in application.take()} <= {"/cb", "/favicon.ico"}, "the server sees no token"


def test_a_page_with_its_policy_shows_nothing_of_anybody_else(
    page: Page, served: Sidecar, application: Upstream
) -> None:
    """What an operator's template might bring in by mistake is blocked: a script, a picture, a frame, a foreign form."""
    page.goto(asked(served, application))
    address = application.url
    application.take()
    page.evaluate(
        """address => {
          const form = document.querySelector("form");
          form.insertAdjacentHTML("beforeend", `<img src="${address}/img"><iframe src="${address}/frame"></iframe>`);
          const script = document.createElement("script");
          script.src = `${address}/script`;
          form.append(script);
        }""",
        address,
    )
    page.locator("form").evaluate("form => { form.action = 'http://127.0.0.1:9/elsewhere' }")
    page.get_by_label("User name").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_event("console", lambda message: "form-action" in message.text):
        page.get_by_label("Password").press("Enter", no_wait_after=True)
    assert page.url.startswith(served.public)
    assert application.take() == []


def test_over_tls_the_cookie_is_bound_to_the_host(
    chromium: Browser, tmp_path: Path, shared_upstream: Upstream, application: Upstream
) -> None:
    pair = Authority(tmp_path).issue("server", "sidecar")
    sections = {
        "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        "users": users(),
        "clients": clients(f"{application.url}/cb"),
    }
    with (
        running(tmp_path, shared_upstream.url, **sections) as sidecar,
        chromium.new_context(ignore_https_errors=True) as context,
    ):
        page = context.new_page()
        page.goto(asked(sidecar, application))
        log_in(page)
        page.get_by_role("button", name="Allow").click()
        expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
        assert answer(page)["iss"] == ISSUER
        (cookie,) = context.cookies()
        shown = {name: cookie.get(name) for name in ("name", "path", "httpOnly", "secure", "sameSite", "expires")}
        assert shown == {
            "name": "__Host-sidecar",
            "path": "/",
            "httpOnly": True,
            "secure": True,
            "sameSite": "Lax",
            "expires": -1,
        }
