"""Logins, logouts and their failures are events in log and metric, and whatever a user is behind names the user."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.people import CLIENT_SECRET, PASSWORD, SPA, VERIFIER, Browser, clients, code_request, users
from tests.support.process import SECRET, UNTHROTTLED, Sidecar, get, running, running_on
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

CALLBACK = "https://app.example/cb"
ASKED = code_request(CALLBACK)
AUTHORIZE, LOGOUT = "/oauth/authorize", "/oauth/logout"
MISTYPED = "correct-horse-in-the-wrong-field"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=["memory", "redis"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[Sidecar]:
    """Also two workers, whose counts add up."""
    folder = tmp_path_factory.mktemp("sidecar")
    reporting = {"client_id": "reporting", "client_secret": SECRET, "grant_types": ["client_credentials"]}
    sections: dict[str, Any] = {
        "users": users(),
        "clients": [*clients(CALLBACK), reporting],
        "throttling": UNTHROTTLED,
        "trusted_proxies": ["127.0.0.1"],
    }
    with running_on(request.param, folder, shared_upstream.url, **sections) as process:
        yield process


class From(Browser):
    """A browser behind a proxy that says where it is."""

    def __init__(self, sidecar: Sidecar, address: str) -> None:
        super().__init__(sidecar.public)
        self.address = address

    def send(self, method: str, target: str, body: str | None = None, **headers: str) -> Any:
        return super().send(method, target, body, **{"X-Forwarded-For": self.address, **headers})


def lines(sidecar: Sidecar, **fields: object) -> list[dict[str, Any]]:
    """Every line of the log with these fields, without what is no news."""
    found = [json.loads(line) for line in sidecar.logs]
    return [
        {name: value for name, value in each.items() if name not in ("time", "pid", "level")}
        for each in found
        if all(each.get(name) == value for name, value in fields.items())
    ]


def the_line(sidecar: Sidecar, **fields: object) -> dict[str, Any]:
    """The one line with these fields; waits for it."""
    wait_until(lambda: bool(lines(sidecar, **fields)))
    (line,) = lines(sidecar, **fields)
    return line


def test_who_logs_in_and_out_is_in_the_log_and_counted(served: Sidecar) -> None:
    before = [served.metric(f"sidecar_{kind}_total", result="success") for kind in ("logins", "logouts")]
    browser = From(served, "192.0.2.1")
    browser.log_in(ASKED)
    said = {"user": "anna", "peer": "192.0.2.1"}
    assert the_line(served, **said) == {"event": "login", "client_id": "web", **said}
    csrf = browser.get(LOGOUT).csrf
    assert browser.post(LOGOUT, {"csrf": csrf}).status == 200
    assert the_line(served, event="logout", peer="192.0.2.1") == {"event": "logout", **said}
    after = [served.metric(f"sidecar_{kind}_total", result="success") for kind in ("logins", "logouts")]
    assert after == [count + 1 for count in before]
    browser.cookie = ""
    browser.post(LOGOUT, {"csrf": csrf})
    assert len(lines(served, event="logout", peer="192.0.2.1")) == 1, "nobody was logged in"


@pytest.mark.parametrize(
    ("typed", "user"), [("anna", "anna"), ("gone", "gone"), (MISTYPED, None), ("ANNA", None), ("", None), ("web", None)]
)
def test_a_login_that_fails_is_one_line_and_names_users_of_the_configuration_alone(
    served: Sidecar, typed: str, user: str | None
) -> None:
    results = [("sidecar_logins_total", {"result": "bad_credentials"})]
    results += [("sidecar_auth_failures_total", {"reason": "bad_credentials"})]
    before = [served.metric(name, **labels) for name, labels in results]
    address = f"2001:db8::{next(NUMBERS):x}"
    page = From(served, address).log_in(ASKED, typed, "wrong")
    assert page.status == 403
    line = the_line(served, event="login_failed", peer=address)
    assert line.pop("user", None) == user
    assert line == {"event": "login_failed", "reason": "bad_credentials", "client_id": "web", "peer": address}
    assert [served.metric(name, **labels) for name, labels in results] == [count + 1 for count in before]
    # A line of the request itself would have been written together with that one, and so before what comes later.
    path = f"/{next(NUMBERS)}"
    assert get(f"{served.public}{path}")[0] == 401
    the_line(served, path=path)
    assert {each["event"] for each in lines(served, reason="bad_credentials")} == {"login_failed"}
    assert MISTYPED not in "".join(served.logs) + get(f"{served.admin}/metrics")[1]


def test_a_form_that_is_too_old_is_a_failure(served: Sidecar) -> None:
    browser = From(served, "192.0.2.20")
    form = {"step": "login", "username": "anna", "password": PASSWORD, "csrf": "x"}
    assert browser.post(AUTHORIZE, form, ASKED).status == 403
    said = {"reason": "stale_form", "peer": "192.0.2.20"}
    assert the_line(served, **said) == {"event": "login_failed", "user": "anna", "client_id": "web", **said}
    assert served.metric("sidecar_logins_total", result="stale_form") >= 1
    browser.log_in(ASKED)
    assert browser.post(AUTHORIZE, {"step": "consent", "csrf": "x"}, ASKED).status == 403
    line = the_line(served, event="request_local", reason="stale_form", client_id="web")
    assert line["user"] == "anna", "no login, but the consent page of somebody who is logged in"
    for csrf, kind, reason in (
        ("x", "application/x-www-form-urlencoded", "stale_form"),
        ("", "text/plain", "invalid_request"),
    ):
        assert browser.send("POST", LOGOUT, f"csrf={csrf}", **{"Content-Type": kind}).status >= 400
        line = the_line(served, event="logout_failed", reason=reason, peer="192.0.2.20")
        assert line.get("user") == ("anna" if reason == "stale_form" else None)
        assert served.metric("sidecar_logouts_total", result=reason) >= 1


def redeemed(served: Sidecar, **form: str) -> dict[str, Any]:
    status, body = get(f"{served.public}/oauth/token", {"client_id": "web", "client_secret": CLIENT_SECRET, **form})
    assert status == 200, body
    given: dict[str, Any] = json.loads(body)
    return given


def test_a_token_that_a_user_gave_names_the_user(served: Sidecar) -> None:
    browser = Browser(served.public)
    browser.log_in(ASKED)
    code = browser.decide(ASKED).answer["code"]
    grant = {"grant_type": "authorization_code", "code_verifier": VERIFIER, "redirect_uri": CALLBACK}
    first = redeemed(served, code=code, **grant)
    redeemed(served, grant_type="refresh_token", refresh_token=first["refresh_token"])
    asked = {"response_type": "token", "client_id": "spa", "redirect_uri": SPA}
    browser.log_in(asked)
    assert "access_token" in browser.decide(asked).answer
    served.token()
    for grant_type, client_id in (("authorization_code", "web"), ("refresh_token", "web"), ("implicit", "spa")):
        line = the_line(served, event="token_issued", grant_type=grant_type)
        assert (line["client_id"], line["user"]) == (client_id, "anna")
    assert "user" not in the_line(served, event="token_issued", grant_type="client_credentials")


def test_a_user_who_says_no_and_a_code_that_comes_twice_are_named(served: Sidecar) -> None:
    browser = Browser(served.public)
    browser.log_in(ASKED)
    code = browser.decide(ASKED).answer["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": "web"}
    url, secret = f"{served.public}/oauth/token", {"client_secret": CLIENT_SECRET}
    assert get(url, {**form, **secret, "code_verifier": "w" * 43})[0] == 400
    redeemed(served, **form, code_verifier=VERIFIER)
    assert get(url, {**form, **secret, "code_verifier": "w" * 43})[0] == 400
    browser.decide(ASKED, "deny")
    browser.get(AUTHORIZE, code_request(CALLBACK, prompt="none"))
    for reason in ("code_invalid", "code_replayed", "access_denied", "consent_required"):
        line = the_line(served, event="request_local", reason=reason)
        assert (line["client_id"], line["user"]) == ("web", "anna")


def test_who_has_to_wait_is_named_if_there_is_such_a_client_or_user(tmp_path: Path, shared_upstream: Upstream) -> None:
    limits = dict.fromkeys(("failures_per_client_and_address", "failed_logins_per_user_and_address"), "2/10m")
    sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK), "throttling": {**UNTHROTTLED, **limits}}
    with running(tmp_path, shared_upstream.url, **sections) as sidecar:
        form = {"grant_type": "authorization_code", "client_secret": "wrong"}
        for client_id in ("web", MISTYPED):
            url = f"{sidecar.public}/oauth/token"
            assert [get(url, {**form, "client_id": client_id})[0] for _ in range(3)] == [401, 401, 429]
        basic = {"Authorization": "Basic d2ViOnNlY3JldA=="}  # web:secret
        assert get(f"{sidecar.public}/oauth/token", {"grant_type": "authorization_code"}, **basic)[0] == 429
        wait_until(lambda: len(lines(sidecar, reason="throttled")) == 3)
        assert [line.get("client_id") for line in lines(sidecar, reason="throttled")] == ["web", None, "web"]
        for name in ("anna", MISTYPED):
            browser = Browser(sidecar.public)
            assert [browser.log_in(ASKED, name, "wrong").status for _ in range(3)] == [403, 403, 429]
        said = {"event": "login_failed", "reason": "throttled", "client_id": "web", "peer": "127.0.0.1"}
        wait_until(lambda: len(lines(sidecar, **said)) == 2)
        assert lines(sidecar, **said) == [{**said, "user": "anna"}, said]
        assert sidecar.metric("sidecar_logins_total", result="throttled") == 2
        assert MISTYPED not in "".join(sidecar.logs)


def test_without_the_store_a_login_and_a_logout_fail_and_are_warned_of(
    tmp_path: Path, shared_upstream: Upstream
) -> None:
    sections: dict[str, Any] = {"users": users(), "clients": clients(CALLBACK)}
    with (
        RedisServer() as redis,
        running(tmp_path, shared_upstream.url, store={"url": redis.url}, **sections) as sidecar,
    ):
        browser = Browser(sidecar.public)
        csrf, cookie = browser.get(AUTHORIZE, ASKED).csrf, browser.cookie
        browser.log_in(ASKED)
        out = browser.get(LOGOUT).csrf
        redis.kill()
        assert browser.post(LOGOUT, {"csrf": out}).status == 503
        browser.cookie = cookie
        form = {"step": "login", "username": "anna", "password": PASSWORD, "csrf": csrf}
        assert browser.post(AUTHORIZE, form, ASKED).status == 503
        reason = "store_unavailable"
        failed = the_line(sidecar, event="login_failed", level="warning")
        assert failed == {
            "event": "login_failed", "reason": reason, "user": "anna", "client_id": "web", "peer": "127.0.0.1",
        }  # fmt: skip
        failed = the_line(sidecar, event="logout_failed", level="warning")
        assert failed == {"event": "logout_failed", "reason": reason, "peer": "127.0.0.1"}
        for kind in ("logins", "logouts"):
            assert sidecar.metric(f"sidecar_{kind}_total", result=reason) == 1
