"""`/oauth/authorize`, `/oauth/logout` and the code grant, over sockets, with both stores."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.link import Link
from tests.support.people import (
    CLIENT_SECRET,
    PASSWORD,
    SPA,
    VERIFIER,
    Browser,
    Page,
    clients,
    code_request,
    users,
)
from tests.support.process import ISSUER, UNTHROTTLED, Sidecar, get, running, running_on
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

CALLBACK = "https://app.example/cb"
AUTHORIZE = "/oauth/authorize"
ASKED = code_request(CALLBACK)
LOOPBACK = "http://127.0.0.1:51004/cb"


@pytest.fixture(scope="module", params=["memory", "redis"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK), "throttling": UNTHROTTLED}
    with running_on(request.param, folder, shared_upstream.url, **sections) as process:
        yield process


@pytest.fixture
def browser(served: Sidecar) -> Browser:
    return Browser(served.public)


def changed(**changes: str | None) -> dict[str, str]:
    return code_request(CALLBACK, **changes)


def logged_in(browser: Browser) -> Browser:
    assert browser.log_in(ASKED).location.startswith("?response_type=code&")
    return browser


def code(browser: Browser, parameters: dict[str, str] = ASKED) -> str:
    return browser.decide(parameters).answer["code"]


def redeem(served: Sidecar, **changes: str | None) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "authorization_code", "client_id": "web", "client_secret": CLIENT_SECRET, "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER, **changes,
    }  # fmt: skip
    status, body = get(
        f"{served.public}/oauth/token", {name: value for name, value in form.items() if value is not None}
    )
    return status, json.loads(body)


def call(served: Sidecar, token: str) -> int:
    return get(f"{served.public}/orders", Authorization=f"Bearer {token}")[0]


# Login and consent.


def test_who_logs_in_and_agrees_gives_the_client_a_token(
    browser: Browser, served: Sidecar, shared_upstream: Upstream
) -> None:
    page = browser.get(AUTHORIZE, ASKED)
    assert (page.status, "Sign in" in page.text, "Order Desk" in page.text) == (200, True, True)
    before = browser.cookie
    logged_in(browser)
    assert browser.cookie not in ("", before), "a login gives another cookie"
    page = browser.get(AUTHORIZE, ASKED)
    assert ("Allow" in page.text, "See orders" in page.text) == (True, True)
    answer = browser.decide(ASKED).answer
    assert {**answer, "code": ""} == {"code": "", "state": ASKED["state"], "iss": ISSUER}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", answer["code"])
    status, given = redeem(served, code=answer["code"])
    assert (status, given["token_type"], given["scope"]) == (200, "Bearer", "orders:read")
    shared_upstream.take()
    assert call(served, given["access_token"]) == 200
    (received,) = shared_upstream.take()
    identity = [received.values(f"x-auth-{name}") for name in ("subject", "client-id", "scope", "roles")]
    assert identity == [["anna"], ["web"], ["orders:read"], ["clerk"]]
    status, refreshed = redeem(
        served, grant_type="refresh_token", refresh_token=given["refresh_token"], redirect_uri=None, code_verifier=None
    )
    assert (status, refreshed["scope"]) == (200, "orders:read")


def test_a_client_gets_what_both_it_and_the_user_have(browser: Browser, served: Sidecar) -> None:
    asked = changed(scope=None)
    page = logged_in(browser).get(AUTHORIZE, asked)
    assert ("orders:read" in page.text, "orders:write" in page.text) == (True, False)
    status, given = redeem(served, code=code(browser, asked))
    assert (status, given["scope"]) == (200, "orders:read profile")
    answer = browser.get(AUTHORIZE, changed(scope="orders:write")).answer
    assert answer["error"] == "access_denied"


@pytest.mark.parametrize("username", ["anna", "nobody", "gone", "ANNA", '"><script>'])
def test_who_does_not_know_the_password_stays_outside(browser: Browser, username: str, served: Sidecar) -> None:
    password = PASSWORD if username != "anna" else "not-this-one"
    before = served.metric("sidecar_auth_failures_total", reason="bad_credentials")
    page = browser.log_in(ASKED, username, password)
    assert page.status == 403
    assert "The user name or password is wrong." in page.text
    assert "<script" not in page.text
    assert password not in page.text
    assert "Sign in" in browser.get(AUTHORIZE, ASKED).text
    assert served.metric("sidecar_auth_failures_total", reason="bad_credentials") == before + 1


def test_pages_are_kept_to_themselves(browser: Browser) -> None:
    pages = [browser.get(AUTHORIZE, ASKED), browser.get(AUTHORIZE), browser.get("/oauth/logout")]
    logged_in(browser)
    pages += [browser.get(AUTHORIZE, ASKED), browser.get("/oauth/logout")]
    for page in pages:
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
        assert {name: policy[name] for name in ("default-src", "frame-ancestors", "base-uri")} == dict.fromkeys(
            ("default-src", "frame-ancestors", "base-uri"), "'none'"
        )
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy["style-src"])
        assert policy["form-action"] in ("'self'", "'self' https://app.example")
        assert "script-src" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script" not in page.text
        assert re.findall(r"""(?:src|href)=["']?(https?:|//)""", page.text) == []


def test_the_cookie_is_for_this_host_and_for_us_alone(browser: Browser) -> None:
    page = browser.get(AUTHORIZE, ASKED)
    assert re.fullmatch(
        r"__Host-sidecar=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax; Secure", page.headers["set-cookie"]
    )
    assert "set-cookie" not in browser.get(AUTHORIZE, ASKED).headers, "another tab keeps its form"


@pytest.mark.parametrize("step", ["login", "consent"])
@pytest.mark.parametrize("csrf", ["", "x", "é", None, "another page", "another browser"])
def test_a_form_that_we_did_not_give_to_this_browser_does_nothing(
    browser: Browser, served: Sidecar, step: str, csrf: str | None
) -> None:
    if step == "consent":
        logged_in(browser)
    token: str | None = csrf
    if csrf == "another page":
        token = browser.get(AUTHORIZE, changed(state="other")).csrf
    elif csrf == "another browser":
        token = Browser(served.public).get(AUTHORIZE, ASKED).csrf
    form = {"step": step, "username": "anna", "password": PASSWORD, "decision": "allow", "csrf": token}
    page = browser.post(AUTHORIZE, {name: value for name, value in form.items() if value is not None}, ASKED)
    assert (page.status, "too old" in page.text) == (403, True)


def test_without_its_cookie_a_form_does_nothing(browser: Browser) -> None:
    csrf = browser.get(AUTHORIZE, ASKED).csrf
    browser.cookie = ""
    form = {"step": "login", "csrf": csrf, "username": "anna", "password": PASSWORD}
    assert browser.post(AUTHORIZE, form, ASKED).status == 403


@pytest.mark.parametrize(
    "cookie", ["__Host-sidecar=x", "__Host-sidecar=" + "a" * 43 + "; __Host-sidecar=" + "b" * 43, "sidecar=" + "a" * 43]
)
def test_a_cookie_that_is_not_ours_is_replaced(browser: Browser, cookie: str) -> None:
    browser.cookie = cookie
    assert "set-cookie" in browser.get(AUTHORIZE, ASKED).headers


def test_a_cookie_that_somebody_planted_ends_with_the_login(browser: Browser) -> None:
    browser.cookie = planted = "__Host-sidecar=" + "a" * 43
    logged_in(browser)
    assert browser.cookie != planted
    browser.cookie = planted
    assert "Sign in" in browser.get(AUTHORIZE, ASKED).text


def test_logging_out_ends_the_session_in_the_store(browser: Browser) -> None:
    assert "You are signed out" in browser.get("/oauth/logout").text
    session = logged_in(browser).cookie
    page = browser.get("/oauth/logout")
    assert "anna" in page.text
    refused = browser.post("/oauth/logout", {"csrf": "x"})
    assert (refused.status, browser.cookie) == (403, session)
    page = browser.post("/oauth/logout", {"csrf": page.csrf})
    assert (page.status, "Max-Age=0" in page.headers["set-cookie"]) == (200, True)
    browser.cookie = session
    assert "Sign in" in browser.get(AUTHORIZE, ASKED).text


@pytest.mark.parametrize("path", [AUTHORIZE, "/oauth/logout"])
@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_named(browser: Browser, path: str, method: str) -> None:
    page = browser.send(method, path)
    assert (page.status, page.headers["allow"]) == (405, "GET, POST")


# What is never redirected, and what is.

NEVER: dict[str, dict[str, str | None]] = {
    "no client": {"client_id": None},
    "an unknown client": {"client_id": "nobody"},
    "a disabled client": {"client_id": "off"},
    **{
        uri: {"redirect_uri": uri}
        for uri in (
            "https://app.example.evil/cb", "//evil", "https://app.example:8443/cb", "https://APP.example/cb", "https://app.example/CB",
            "https://app.example@evil/cb", "https://app.example\\@evil/cb", "https://app.example/cb#", "https://app.example/cb#x",
            "https://app.example/cb?", "https://app.example/cb/..", "http://app.example/cb", "javascript:alert(1)", "https://app.example/cb/",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", NEVER.values(), ids=NEVER)
def test_an_invalid_client_or_address_is_a_page(browser: Browser, changes: dict[str, str | None]) -> None:
    for method in ("GET", "POST"):
        page = (
            browser.get(AUTHORIZE, changed(**changes))
            if method == "GET"
            else browser.post(AUTHORIZE, {"step": "login"}, changed(**changes))
        )
        assert page.status == 400
        assert "location" not in page.headers
        assert page.headers["content-type"].startswith("text/html")
        assert "evil" not in page.text


DUPLICATES = [
    "client_id=web",
    "redirect_uri=https://app.example/cb",
    "state=2",
    "scope=orders:read",
    "response_type=code",
    "x=1&x=2",
]


@pytest.mark.parametrize("more", DUPLICATES)
def test_a_parameter_that_comes_twice_is_a_page(browser: Browser, more: str) -> None:
    page = browser.send("GET", f"{AUTHORIZE}?{urlencode(ASKED)}&{more}")
    assert (page.status, "location" in page.headers) == (400, False)


@pytest.mark.parametrize("query", ["%", "state=%zz", "state=%ff", "a=b&" * 100, "state=%00", "client_id=web%0d%0aX:1"])
def test_what_cannot_be_read_is_a_page(browser: Browser, query: str) -> None:
    page = browser.send("GET", f"{AUTHORIZE}?{query}")
    assert (page.status, "location" in page.headers) == (400, False)


ERRORS: dict[str, tuple[dict[str, str | None], str]] = {
    "no response type": ({"response_type": None}, "invalid_request"),
    "another response type": ({"response_type": "id_token"}, "unsupported_response_type"),
    "no PKCE": ({"code_challenge": None}, "invalid_request"),
    "plain PKCE": ({"code_challenge_method": "plain"}, "invalid_request"),
    "PKCE without a method": ({"code_challenge_method": None}, "invalid_request"),
    "a challenge that is none": ({"code_challenge": "x"}, "invalid_request"),
    "implicit for a client without it": ({"response_type": "token"}, "unauthorized_client"),
    "a scope that the client has not": ({"scope": "admin"}, "invalid_scope"),
    "nobody is logged in, and may not be asked": ({"prompt": "none"}, "login_required"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error"), ERRORS.values(), ids=ERRORS)
def test_other_errors_go_to_the_client(browser: Browser, changes: dict[str, str | None], error: str) -> None:
    page = browser.get(AUTHORIZE, changed(**changes))
    assert page.location.startswith(f"{CALLBACK}{'#' if changes.get('response_type') == 'token' else '?'}")
    assert (page.answer["error"], page.answer["state"], page.answer["iss"]) == (error, ASKED["state"], ISSUER)
    assert page.answer.keys() == {"error", "error_description", "state", "iss"}


def test_a_denial_goes_to_the_client(browser: Browser) -> None:
    answer = logged_in(browser).decide(ASKED, "deny").answer
    assert (answer["error"], answer["state"]) == ("access_denied", ASKED["state"])


def test_a_form_of_the_client_becomes_a_get(browser: Browser) -> None:
    """RFC 6749 section 3.1; the cookie comes along with that."""
    page = browser.post(AUTHORIZE, ASKED)
    assert page.location == f"?{urlencode(ASKED)}"
    assert browser.post(AUTHORIZE, ASKED, ASKED).status == 400
    assert browser.post(AUTHORIZE, {**ASKED, "state": "x" * 7000}).status == 400


def test_a_decision_needs_a_login(browser: Browser) -> None:
    csrf = browser.get(AUTHORIZE, ASKED).csrf
    page = browser.post(AUTHORIZE, {"step": "consent", "csrf": csrf, "decision": "allow"}, ASKED)
    assert page.location == f"?{urlencode(ASKED)}"


@pytest.mark.parametrize(
    "form", [{"step": "consent"}, {"step": "consent", "decision": "x"}, {"step": "x", "decision": "allow"}]
)
def test_a_form_that_is_not_ours_is_a_page(browser: Browser, form: dict[str, str]) -> None:
    csrf = logged_in(browser).get(AUTHORIZE, ASKED).csrf
    assert browser.post(AUTHORIZE, {**form, "csrf": csrf}, ASKED).status == 400


# Prompts and remembered consent.


def test_a_consent_is_remembered_for_its_scopes(browser: Browser) -> None:
    asked = changed(client_id="other")
    logged_in(browser).decide(asked, remember="yes")
    assert "code" in browser.get(AUTHORIZE, {**asked, "prompt": "none"}).answer
    assert "code" in browser.get(AUTHORIZE, asked).answer
    wider = logged_in(browser).get(AUTHORIZE, {**asked, "prompt": "consent"})
    assert "Allow" in wider.text
    assert browser.get(AUTHORIZE, changed(prompt="none")).answer["error"] == "consent_required"


def test_an_app_that_anybody_could_be_is_asked_for_each_time(browser: Browser) -> None:
    """RFC 6749 section 10.2: a public client on loopback or with a scheme of its own proves nothing."""
    for uri in (LOOPBACK, "com.example.app:/cb"):
        asked = code_request(uri, client_id="native")
        browser.log_in(asked)
        assert 'name="remember"' not in browser.get(AUTHORIZE, asked).text
        assert "code" in browser.decide(asked, remember="yes").answer
        assert browser.get(AUTHORIZE, {**asked, "prompt": "none"}).answer["error"] == "consent_required"


def test_a_login_can_be_asked_for_again(browser: Browser) -> None:
    asked = changed(prompt="login")
    page = logged_in(browser).get(AUTHORIZE, asked)
    assert "Password" in page.text
    assert browser.log_in(asked).location == f"?{urlencode(ASKED)}", "and not a second time"


# Codes.


def test_a_native_app_listens_where_it_can(browser: Browser, served: Sidecar) -> None:
    """RFC 8252 section 7.3; a public client authenticates by its verifier alone."""
    asked = code_request(LOOPBACK, client_id="native")
    browser.log_in(asked)
    page = browser.decide(asked)
    assert page.location.startswith(f"{LOOPBACK}?")
    native = {"client_id": "native", "client_secret": None, "redirect_uri": LOOPBACK}
    assert redeem(served, code=page.answer["code"], **{**native, "redirect_uri": "http://127.0.0.1/cb"})[0] == 400
    assert redeem(served, code=page.answer["code"], **native)[0] == 200


def test_an_address_that_was_not_named_need_not_be_named_later(browser: Browser, served: Sidecar) -> None:
    asked = changed(redirect_uri=None)
    logged_in(browser)
    assert redeem(served, code=code(browser, asked), redirect_uri=CALLBACK)[0] == 400
    assert redeem(served, code=code(browser, asked), redirect_uri=None)[0] == 200


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "no code": ({"code": None}, "invalid_request"),
    "no verifier": ({"code_verifier": None}, "invalid_request"),
    "another code": ({"code": "x" * 43}, "invalid_grant"),
    "another verifier": ({"code_verifier": "w" * 43}, "invalid_grant"),
    "the challenge as verifier": ({"code_verifier": ASKED["code_challenge"]}, "invalid_grant"),
    "no address": ({"redirect_uri": None}, "invalid_grant"),
    "another address": ({"redirect_uri": f"{CALLBACK}2"}, "invalid_grant"),
    "another client": ({"client_id": "other"}, "invalid_grant"),
    "a client without the grant": ({"client_id": "spa"}, "unauthorized_client"),
}


def test_a_code_is_bound_and_good_once(browser: Browser, served: Sidecar) -> None:
    """What does not fit does not use it up; the first use does, and a second without the verifier ends what the first gave."""
    given = code(logged_in(browser))
    for name, (changes, error) in REFUSED.items():
        status, body = redeem(served, **{"code": given, **changes})
        assert (status, body["error"]) == (400, error), name
    status, first = redeem(served, code=given)
    assert (status, call(served, first["access_token"])) == (200, 200)
    before = served.metric("sidecar_auth_failures_total", reason="code_replayed")
    status, body = redeem(served, code=given, code_verifier="w" * 43)
    assert (status, body["error"], body["reason"]) == (400, "invalid_grant", "code_replayed")
    assert served.metric("sidecar_auth_failures_total", reason="code_replayed") == before + 1
    assert call(served, first["access_token"]) == 401
    assert redeem(served, code=given)[0] == 400
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": first["refresh_token"],
        "redirect_uri": None,
        "code_verifier": None,
    }
    assert redeem(served, **refresh)[0] == 400


def test_many_uses_at_once_give_one_grant(browser: Browser, served: Sidecar) -> None:
    """To whoever has the verifier. When its refresh token was used, another use of the code ends it all."""
    given = code(logged_in(browser))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: redeem(served, code=given), range(20)))
    assert [status for status, _ in answers] == [200] * 20
    (token,) = {body["refresh_token"] for _, body in answers}
    assert len({body["access_token"] for _, body in answers}) == 20
    status, refreshed = redeem(
        served, grant_type="refresh_token", refresh_token=token, redirect_uri=None, code_verifier=None
    )
    assert status == 200
    status, body = redeem(served, code=given)
    assert (status, body["reason"]) == (400, "code_replayed")
    assert {call(served, body["access_token"]) for body in [refreshed, *(body for _, body in answers)]} == {401}


def test_of_many_uses_at_once_one_without_the_verifier_ends_them_all(browser: Browser, served: Sidecar) -> None:
    given = code(logged_in(browser))
    assert redeem(served, code=given)[0] == 200
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: redeem(served, code=given, code_verifier="vw"[n == 9] * 43), range(20)))
    assert {status for status, _ in answers} <= {200, 400}
    for status, body in answers:
        if status == 200:
            assert call(served, body["access_token"]) == 401


LOST = {"nothing was done": b":code:", "the code was used": b'"spent": true', "all was done": b":family:"}


@pytest.mark.parametrize("case", LOST)
def test_a_code_whose_answer_was_lost_is_answered_by_any_process(
    tmp_path: Any, shared_upstream: Upstream, case: str
) -> None:
    with RedisServer() as redis, Link(("127.0.0.1", redis.port)) as link:
        url = redis.url.replace(str(redis.port), str(link.port))
        sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK)}
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        with (
            running(
                tmp_path / "first", shared_upstream.url, store={"url": url, "timeout": "500ms"}, **sections
            ) as first,
            running(tmp_path / "second", shared_upstream.url, store={"url": redis.url}, **sections) as second,
        ):
            browser = logged_in(Browser(first.public))
            redeem(first, code=code(browser))  # Redis has the scripts now
            given = code(browser)
            link.lose(LOST[case])
            assert redeem(first, code=given)[0] == 503
            assert link.lost.is_set()
            answers = [redeem(sidecar, code=given) for sidecar in (second, first, second)]
            assert [status for status, _ in answers] == [200] * 3
            (token,) = {body["refresh_token"] for _, body in answers}
            assert {call(sidecar, body["access_token"]) for sidecar in (first, second) for _, body in answers} == {200}
            refresh = {"grant_type": "refresh_token", "redirect_uri": None, "code_verifier": None}
            status, refreshed = redeem(second, refresh_token=token, **refresh)
            assert status == 200
            status, body = redeem(first, code=given)
            assert (status, body["reason"]) == (400, "code_replayed"), "what it gave was used"
            assert redeem(second, refresh_token=refreshed["refresh_token"], **refresh)[0] == 400


def test_in_a_stall_every_try_of_a_code_gives_the_same(tmp_path: Any, shared_upstream: Upstream) -> None:
    """What was sent to Redis meanwhile is done when it goes on."""
    with RedisServer() as redis:
        sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK)}
        store = {"url": redis.url, "timeout": "500ms"}
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        with (
            running(tmp_path / "first", shared_upstream.url, store=store, **sections) as first,
            running(tmp_path / "second", shared_upstream.url, store=store, **sections) as second,
        ):
            browser = logged_in(Browser(first.public))
            given = code(browser)
            redis.pause()
            assert [redeem(sidecar, code=given)[0] for sidecar in (first, second, first, second)] == [503] * 4
            redis.resume()
            answers = [redeem(sidecar, code=given) for sidecar in (second, first, second)]
            assert [status for status, _ in answers] == [200] * 3
            (token,) = {body["refresh_token"] for _, body in answers}
            asked = {"grant_type": "refresh_token", "redirect_uri": None, "code_verifier": None}
            assert redeem(first, refresh_token=token, **asked)[0] == 200


def test_a_used_code_is_forgotten_in_seconds_and_still_ends_what_it_gave(
    tmp_path: Any, shared_upstream: Upstream
) -> None:
    with RedisServer() as redis:
        sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK), "throttling": UNTHROTTLED}
        with running(tmp_path, shared_upstream.url, store={"url": redis.url}, **sections) as served:
            given = code(logged_in(Browser(served.public)))
            (kept,) = redis.command("KEYS", "{sidecar}:code:*")
            assert 0 < redis.command("TTL", kept) <= 60
            status, first = redeem(served, code=given)
            assert (status, call(served, first["access_token"])) == (200, 200)
            assert redis.command("KEYS", "{sidecar}:code:*") == [kept]
            assert 0 < redis.command("TTL", kept) <= 60
            redis.command("DEL", kept)  # which Redis does then
            for changes in ({"client_id": "other"}, {"code": "x" * 43}):
                status, body = redeem(served, **{"code": given, **changes})
                assert (status, body["reason"]) == (400, "code_invalid")
            assert call(served, first["access_token"]) == 200
            for _ in range(2):
                status, body = redeem(served, code=given)
                assert (status, body["reason"]) == (400, "code_replayed")
            assert call(served, first["access_token"]) == 401


# Implicit.


@pytest.mark.parametrize("older", [False, True])
def test_implicit_gives_a_token_in_the_fragment(browser: Browser, served: Sidecar, older: bool) -> None:
    tapdata = {"grant_type": "password", "scope": "api-server"} if older else {}
    asked = {"response_type": "token", "client_id": "spa", "redirect_uri": SPA, "state": "s", **tapdata}
    browser.log_in(asked)
    page = browser.decide(asked)
    assert page.location.startswith(f"{SPA}#access_token=")
    answer = page.answer
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope", "state", "iss"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", "1800", "orders:read profile")
    assert call(served, answer["access_token"]) == 200
    denied = browser.decide(asked, "deny")
    assert denied.location.startswith(f"{SPA}#error=access_denied")


def test_nothing_secret_is_written_anywhere(browser: Browser, served: Sidecar) -> None:
    """Not in the log, nor in a metric, nor in an address."""
    browser.log_in(ASKED, password="canary-password")
    logged_in(browser)
    given = code(browser)
    _, body = redeem(served, code=given)
    session = browser.cookie.partition("=")[2]
    text = "".join(served.logs) + get(f"{served.admin}/metrics")[1]
    for secret in ("canary-password", PASSWORD, given, session, body["access_token"], body["refresh_token"], VERIFIER):
        assert secret not in text


def test_who_guesses_has_to_wait(tmp_path: Any, shared_upstream: Upstream) -> None:
    """And is told so on the page, whatever the password then is; another user from the same address goes on."""
    throttling = {**UNTHROTTLED, "failed_logins_per_user_and_address": "3/10m"}
    sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK), "throttling": throttling}
    with running(tmp_path, shared_upstream.url, **sections) as served:
        browser = Browser(served.public)
        assert [browser.log_in(ASKED, password="wrong").status for _ in range(3)] == [403] * 3
        page = browser.log_in(ASKED)
        assert (page.status, 100 < int(page.headers["retry-after"]) <= 600) == (429, True)
        assert "Too many requests; try again in" in page.text
        assert browser.log_in(ASKED, username="nobody").status == 403


def test_redis_holds_digests_only(tmp_path: Any, shared_upstream: Upstream) -> None:
    with (
        RedisServer() as redis,
        running(
            tmp_path, shared_upstream.url, store={"url": redis.url}, users=users(), clients=clients(CALLBACK)
        ) as served,
    ):
        browser = logged_in(Browser(served.public))
        given = code(browser)
        held = b"\n".join(key + b" " + redis.command("DUMP", key.decode()) for key in redis.command("KEYS", "*"))
        assert b":session:" in held
        assert b":code:" in held
        for secret in (given, browser.cookie.partition("=")[2], PASSWORD):
            assert secret.encode() not in held


def test_without_the_store_nobody_logs_in_and_nobody_is_blamed(tmp_path: Any, shared_upstream: Upstream) -> None:
    with (
        RedisServer() as redis,
        running(
            tmp_path, shared_upstream.url, store={"url": redis.url}, users=users(), clients=clients(CALLBACK)
        ) as served,
    ):
        browser = logged_in(Browser(served.public))
        csrf = browser.get(AUTHORIZE, ASKED).csrf
        redis.kill()
        pages: list[Page] = [
            browser.get(AUTHORIZE, ASKED),
            browser.post(AUTHORIZE, {"step": "consent", "csrf": csrf, "decision": "allow"}, ASKED),
            browser.get("/oauth/logout"),
        ]
        for page in pages:
            assert (page.status, page.headers["retry-after"]) == (503, "1")
        assert redeem(served, code="x" * 43)[0] == 503


def test_compat_rfc_leaves_out_what_is_tapdatas(tmp_path: Any, shared_upstream: Upstream) -> None:
    with running(tmp_path, shared_upstream.url, compat="rfc", users=users(), clients=clients(CALLBACK)) as served:
        browser = logged_in(Browser(served.public))
        _, given = redeem(served, code=code(browser))
        status, refused = redeem(served, code="x" * 43)
        assert (status, refused.keys()) == (400, {"error", "error_description", "reason"})
        status, body = get(f"{served.public}/orders")
        assert (status, json.loads(body).keys()) == (401, {"error", "error_description", "reason"})
        assert call(served, given["access_token"]) == 200
        older = {
            "response_type": "token",
            "client_id": "spa",
            "redirect_uri": SPA,
            "grant_type": "password",
            "scope": "api-server",
        }
        assert browser.get(AUTHORIZE, older).answer["error"] == "invalid_scope"
