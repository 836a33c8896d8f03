"""core.oauth.authorization: the rules of an authorization request."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from sidecar.core.oauth.authorization import (
    AuthorizationError,
    find_target,
    read_request,
    response_uri,
    scope_for,
    verifies,
)
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.users import User
from sidecar.core.reasons import Reason, Refused
from tests.support.people import CHALLENGE, VERIFIER

URI = "https://app.example/cb"


def client(client_id: str, *grants: str, **fields: Any) -> Client:
    fields = {"scope": ("orders:read", "orders:write"), "redirect_uris": (URI,), **fields}
    return Client(client_id, (), frozenset(grants), **fields)


CLIENTS = ClientRegistry(
    [
        client("web", "authorization_code"),
        client("spa", "implicit"),
        client("both", "authorization_code", "implicit"),
        client("two", "authorization_code", redirect_uris=(URI, f"{URI}2")),
        client("none", "client_credentials", redirect_uris=()),
        client("named", "implicit", scope=("api-server", "orders:read")),
        client("off", "authorization_code", disabled=True),
    ],
    bytes(32),
)
CODE = {
    "response_type": "code",
    "client_id": "web",
    "redirect_uri": URI,
    "scope": "orders:read",
    "state": "s",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
TOKEN = {"response_type": "token", "client_id": "spa", "redirect_uri": URI, "scope": "orders:read"}


def changed(base: dict[str, str], **changes: str | None) -> dict[str, str]:
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def read(parameters: dict[str, str], *, tapdata: bool = True) -> Any:
    return read_request(parameters, find_target(parameters, CLIENTS), tapdata=tapdata)


def test_a_request_for_a_code() -> None:
    asked = read(CODE)
    assert (asked.response_type, asked.scope, asked.challenge) == ("code", ("orders:read",), CHALLENGE)
    assert (asked.target.redirect_uri, asked.target.named, asked.state, asked.prompt) == (URI, True, "s", frozenset())


def test_a_request_for_a_token() -> None:
    asked = read(TOKEN)
    assert (asked.response_type, asked.scope, asked.challenge, asked.state) == ("token", ("orders:read",), None, None)


def test_the_only_redirect_uri_need_not_be_named() -> None:
    asked = read(changed(CODE, redirect_uri=None))
    assert (asked.target.redirect_uri, asked.target.named) == (URI, False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": None}, Reason.UNKNOWN_CLIENT),
        ({"client_id": "nobody"}, Reason.UNKNOWN_CLIENT),
        ({"client_id": "off"}, Reason.CLIENT_DISABLED),
        ({"client_id": "two", "redirect_uri": None}, Reason.INVALID_REDIRECT),
        ({"client_id": "none", "redirect_uri": None}, Reason.INVALID_REDIRECT),
        ({"client_id": "none"}, Reason.INVALID_REDIRECT),
        ({"redirect_uri": f"{URI}2"}, Reason.INVALID_REDIRECT),
        ({"redirect_uri": "https://app.example.evil/cb"}, Reason.INVALID_REDIRECT),
    ],
)
def test_without_a_client_and_its_uri_nobody_is_redirected(changes: dict[str, str | None], reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        find_target(changed(CODE, **changes), CLIENTS)
    assert caught.value.reason is reason


def test_nobody_learns_which_clients_are_disabled() -> None:
    said = set()
    for client_id in ("nobody", "off"):
        with pytest.raises(Refused) as caught:
            find_target(changed(CODE, client_id=client_id), CLIENTS)
        said.add(caught.value.detail)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("base", "changes", "error"),
    [
        (CODE, {"response_type": None}, "invalid_request"),
        (CODE, {"response_type": "id_token"}, "unsupported_response_type"),
        (CODE, {"response_type": "code token"}, "unsupported_response_type"),
        (CODE, {"response_type": "Code"}, "unsupported_response_type"),
        (CODE, {"client_id": "spa"}, "unauthorized_client"),
        (TOKEN, {"client_id": "web"}, "unauthorized_client"),
        (CODE, {"code_challenge": None}, "invalid_request"),
        (CODE, {"code_challenge_method": None}, "invalid_request"),
        (CODE, {"code_challenge_method": "plain"}, "invalid_request"),
        (CODE, {"code_challenge_method": "s256"}, "invalid_request"),
        (CODE, {"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
        (CODE, {"code_challenge": CHALLENGE + "="}, "invalid_request"),
        (CODE, {"code_challenge": "ä" * 43}, "invalid_request"),
        (CODE, {"response_mode": "fragment"}, "invalid_request"),
        (CODE, {"response_mode": "form_post"}, "invalid_request"),
        (TOKEN, {"response_mode": "query"}, "invalid_request"),
        (CODE, {"scope": "orders:read admin"}, "invalid_scope"),
        (CODE, {"scope": "api-server"}, "invalid_scope"),
        (TOKEN, {"scope": "api-server"}, "invalid_scope"),
        (CODE, {"prompt": "none login"}, "invalid_request"),
        (CODE, {"prompt": "create"}, "invalid_request"),
    ],
)
def test_any_other_fault_is_told_to_the_client(base: dict[str, str], changes: dict[str, str], error: str) -> None:
    with pytest.raises(AuthorizationError) as caught:
        read(changed(base, **changes))
    assert (caught.value.error, caught.value.reason.error) == (error, error)


@pytest.mark.parametrize(
    ("client_id", "scope", "expected"),
    [
        ("spa", "api-server", ("orders:read", "orders:write")),
        ("spa", None, ("orders:read", "orders:write")),
        ("spa", "api-server orders:read", ("orders:read",)),
        ("spa", "orders:read", ("orders:read",)),
        ("named", "api-server", ("api-server",)),
    ],
)
def test_tapdatas_older_form_is_implicit(client_id: str, scope: str | None, expected: tuple[str, ...]) -> None:
    older = changed(TOKEN, client_id=client_id, grant_type="password", scope=scope)
    assert read(older).scope == expected


def test_tapdatas_older_form_is_nothing_to_others() -> None:
    older = changed(TOKEN, grant_type="password", scope="api-server")
    with pytest.raises(AuthorizationError):
        read(older, tapdata=False)
    with pytest.raises(AuthorizationError):
        read(changed(CODE, grant_type="password", scope="api-server"))


@pytest.mark.parametrize("prompt", ["none", "login", "consent", "login consent", "select_account", "  login "])
def test_prompts(prompt: str) -> None:
    assert read(changed(CODE, prompt=prompt)).prompt == frozenset(prompt.split())


ASKED = ("orders:read", "orders:write")


@pytest.mark.parametrize(
    ("users", "asked", "given"),
    [
        (None, ASKED, ASKED),
        (("orders:write", "x"), ASKED, ("orders:write",)),
        (None, (), ()),
        ((), (), ()),
        (("x",), (), ()),
    ],
)
def test_a_client_gets_no_more_than_the_user_has(
    users: tuple[str, ...] | None, asked: tuple[str, ...], given: tuple[str, ...]
) -> None:
    assert scope_for(User("u", "", scope=users), asked) == given


@pytest.mark.parametrize("users", [(), ("x",)])
def test_when_nothing_is_left_the_client_is_told(users: tuple[str, ...]) -> None:
    with pytest.raises(AuthorizationError) as caught:
        scope_for(User("u", "", scope=users), ASKED)
    assert caught.value.error == "access_denied"


@pytest.mark.parametrize("kind", ["code", "token"])
@pytest.mark.parametrize("state", ["s", "a b&c=d#/?%20+ä€", '"<>'])
def test_state_comes_back_as_it_was_beside_the_issuer(kind: str, state: str) -> None:
    """RFC 6749 sections 4.1.2 and 4.2.2, RFC 9207."""
    location = response_uri({"response_type": kind, "state": state}, URI + "?x=1", {"a": "b"}, "https://issuer")
    parts = urlsplit(location)
    found = dict(parse_qsl(parts.query if kind == "code" else parts.fragment))
    assert {**found, "x": "1"} == {"x": "1", "a": "b", "state": state, "iss": "https://issuer"}
    assert (parts.fragment == "") is (kind == "code")


def test_a_state_that_was_not_sent_does_not_come_back() -> None:
    assert "state" not in response_uri({}, URI, {"code": "c"}, "https://issuer")


def test_a_verifier_fits_its_challenge_alone() -> None:
    """The example of RFC 7636 appendix B."""
    assert verifies("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    assert verifies(VERIFIER, CHALLENGE)


@pytest.mark.parametrize(
    "verifier",
    ["", VERIFIER[:-1], VERIFIER + "v", "v" * 129, VERIFIER[:-1] + "ä", VERIFIER + "=", CHALLENGE, "\ud800" * 43],
)
def test_any_other_verifier_does_not(verifier: str) -> None:
    assert not verifies(verifier, CHALLENGE)
    assert not verifies(VERIFIER, "")
