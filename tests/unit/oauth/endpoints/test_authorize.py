"""oauth.endpoints.authorize: login, consent, and what the client gets. With browsers: tests/e2e/test_authorize.py."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from sidecar.core.events import LoginFailed, TokenIssued, UserLoggedIn
from sidecar.core.oauth.endpoint_paths import AUTHORIZE
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from tests.support.endpoints import Called, called
from tests.support.people import CHALLENGE, PASSWORD, SPA, USERNAME, clients, users

CALLBACK = "https://app.example.com/callback"
CODE = {"response_type": "code", "client_id": "web", "redirect_uri": CALLBACK, "scope": "orders:read", "state": "s",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256"}  # fmt: skip


@pytest.fixture
def world() -> Iterator[Called]:
    with called(users=users(), clients=clients(CALLBACK)) as made:
        yield made


def get(world: Called, **changes: str) -> Reply:
    return world.call("GET", AUTHORIZE, urlencode({**CODE, **changes}))


def submit(world: Called, page: Reply, changes: dict[str, str] | None = None, **form: str) -> Reply:
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.body.decode())
    assert csrf
    return world.call(
        "POST", AUTHORIZE, urlencode({**CODE, **(changes or {})}), urlencode({"csrf": csrf[1], **form}).encode()
    )


def log_in(world: Called, password: str = PASSWORD, username: str = USERNAME, **changes: str) -> Reply:
    return submit(world, get(world, **changes), changes, step="login", username=username, password=password)


def answer(reply: Reply) -> dict[str, str]:
    assert reply.status == 303
    parts = urlsplit(dict(reply.headers)["Location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" in (CALLBACK, SPA.partition("?")[0])
    return dict(parse_qsl(parts.query)) | dict(parse_qsl(parts.fragment))


def test_who_is_not_logged_in_sees_the_login_page(world: Called) -> None:
    page = get(world)
    assert (page.status, b"password" in page.body, page.client_id) == (200, True, "web")


def test_a_login_leads_to_consent_and_consent_to_a_code(world: Called) -> None:
    reply = log_in(world)
    assert reply.status == 303
    assert world.events == [UserLoggedIn(USERNAME, "web", "10.0.0.1")]
    page = get(world)
    assert b"Order Desk" in page.body
    found = answer(submit(world, page, step="consent", decision="allow"))
    assert (found["state"], len(found["code"])) == ("s", 43)


def test_a_user_may_say_no(world: Called) -> None:
    log_in(world)
    assert answer(submit(world, get(world), step="consent", decision="deny"))["error"] == "access_denied"


def test_what_was_remembered_is_not_asked_again(world: Called) -> None:
    log_in(world)
    submit(world, get(world), step="consent", decision="allow", remember="on")
    assert "code" in answer(get(world))
    assert b"Order Desk" in get(world, scope="orders:read orders:write", prompt="consent").body


@pytest.mark.parametrize(
    ("username", "password", "known"),
    [(USERNAME, "wrong", USERNAME), ("nobody", PASSWORD, None), ("gone", PASSWORD, "gone"), (PASSWORD, "", None)],
)
def test_a_failed_login_is_told_and_names_configured_users_alone(
    world: Called, username: str, password: str, known: str | None
) -> None:
    reply = log_in(world, password, username)
    assert (reply.status, reply.told) == (403, True)
    assert world.events == [LoginFailed(Reason.BAD_CREDENTIALS, known, "web", "10.0.0.1")]


def test_a_form_of_another_page_is_refused(world: Called) -> None:
    page = get(world, state="other")
    reply = submit(world, page, step="login", username=USERNAME, password=PASSWORD)
    assert (reply.status, reply.reason) == (403, Reason.STALE_FORM)


def test_implicit_gives_a_token_in_the_fragment_to_clients_that_name_it(world: Called) -> None:
    asked = {"response_type": "token", "client_id": "spa", "redirect_uri": SPA, "scope": "orders:read"}
    log_in(world, **asked)
    reply = submit(world, get(world, **asked), asked, step="consent", decision="allow")
    found = answer(reply)
    assert found["token_type"] == "Bearer"
    assert "refresh_token" not in found
    assert "access_token" not in urlsplit(dict(reply.headers)["Location"]).query
    assert world.rules.verify(found["access_token"], world.now).sub == USERNAME
    assert [event.user for event in world.events if isinstance(event, TokenIssued)] == [USERNAME]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "nobody"},
        {"client_id": ""},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": CALLBACK + "/x"},
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_registered(world: Called, changes: dict[str, str]) -> None:
    reply = get(world, **changes)
    assert reply.status == 400
    assert "Location" not in dict(reply.headers)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unauthorized_client"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"scope": "nothing"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_other_errors_are_for_the_client(world: Called, changes: dict[str, str], error: str) -> None:
    assert answer(get(world, **changes)).get("error") == error


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_other_methods_get_a_page_that_says_which(world: Called, method: str) -> None:
    reply = world.call(method, AUTHORIZE, urlencode(CODE))
    assert (reply.status, dict(reply.headers)["Allow"]) == (405, "GET, POST")


def test_a_store_that_is_away_is_503_and_a_login_meanwhile_is_told(world: Called) -> None:
    page = get(world)
    world.store.away = True
    assert get(world).status == 503
    reply = submit(world, page, step="login", username=USERNAME, password=PASSWORD)
    assert reply.status == 503
    assert world.events == [LoginFailed(Reason.STORE_UNAVAILABLE, USERNAME, "web", "10.0.0.1")]


def test_a_request_as_a_form_goes_on_as_a_url_without_secrets(world: Called) -> None:
    """RFC 6749 section 3.1."""
    form: dict[str, Any] = {**CODE, "client_secret": "s3cret", "password": "p"}
    reply = world.call("POST", AUTHORIZE, "", urlencode(form).encode())
    location = dict(reply.headers)["Location"]
    assert (reply.status, dict(parse_qsl(location.lstrip("?")))) == (303, CODE)
