"""oauth.endpoints.logout: a GET asks, a POST ends the session."""

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from sidecar.core.events import LogoutFailed, UserLoggedOut
from sidecar.core.oauth.endpoint_paths import AUTHORIZE, LOGOUT
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from tests.support.endpoints import Called, called
from tests.support.people import PASSWORD, USERNAME, clients, users
from tests.unit.oauth.endpoints.test_authorize import CALLBACK, CODE, submit


@pytest.fixture
def world() -> Iterator[Called]:
    with called(users=users(), clients=clients(CALLBACK)) as made:
        page = made.call("GET", AUTHORIZE, urlencode(CODE))
        submit(made, page, step="login", username=USERNAME, password=PASSWORD)
        made.events.clear()
        yield made


def leave(world: Called, csrf: str | None = None) -> Reply:
    if csrf is None:
        found = re.search(r'name="csrf" value="([^"]+)"', world.call("GET", LOGOUT).body.decode())
        assert found
        csrf = found[1]
    return world.call("POST", LOGOUT, "", urlencode({"csrf": csrf}).encode())


def test_a_get_changes_nothing(world: Called) -> None:
    for _ in range(2):
        assert USERNAME.encode() in world.call("GET", LOGOUT).body
    assert world.events == []


def test_a_post_ends_the_session(world: Called) -> None:
    reply = leave(world)
    assert (reply.status, world.events) == (200, [UserLoggedOut(USERNAME, "10.0.0.1")])
    assert USERNAME.encode() not in world.call("GET", LOGOUT).body
    assert b'name="password"' in world.call("GET", AUTHORIZE, urlencode(CODE)).body


@pytest.mark.parametrize("csrf", ["", "wrong"])
def test_a_form_that_is_not_ours_ends_nothing(world: Called, csrf: str) -> None:
    reply = leave(world, csrf)
    assert (reply.status, reply.told) == (403, True)
    assert world.events == [LogoutFailed(Reason.STALE_FORM, USERNAME, "10.0.0.1")]
    assert USERNAME.encode() in world.call("GET", LOGOUT).body


def test_without_a_session_there_is_nothing_to_end(world: Called) -> None:
    world.cookies.clear()
    assert world.call("GET", LOGOUT).status == 200
    assert leave(world, "x").status == 200
    assert world.events == []


def test_a_store_that_is_away_is_503_and_told(world: Called) -> None:
    world.store.away = True
    assert world.call("GET", LOGOUT).status == 503
    assert world.events == []
    assert leave(world, "x").status in (403, 503)
    assert isinstance(world.events[-1], LogoutFailed)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_other_methods_are_told_which_and_no_logout_failed(world: Called, method: str) -> None:
    reply = world.call(method, LOGOUT)
    assert (reply.status, dict(reply.headers)["Allow"]) == (405, "GET, POST")
    assert world.events == []
