"""assembly.people: users and pages, from the settings."""

import asyncio
import math

import pytest

from sidecar.assembly.clients import client_registry, throttle
from sidecar.assembly.keys import token_rules
from sidecar.assembly.living import Living
from sidecar.assembly.people import UserPages, people
from sidecar.config.settings import Settings
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.users import hash_password
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.clients.throttle import ThrottledLogins
from tests.support.process import configuration


@pytest.fixture
def made(parts: Living) -> UserPages:
    users = [
        {"username": "anna", "password_hash": hash_password("correct horse"), "roles": ["clerk"]},
        {"username": "gone", "password_hash": hash_password("correct horse"), "disabled": True},
    ]
    settings = Settings.model_validate(configuration("http://127.0.0.1:1", users=users, login={"site": "Orders & Co"}))
    parts.view.confirm(math.inf)
    failures = ThrottledLogins(throttle(settings.throttling, "user", parts))
    return people(settings, client_registry(settings.clients), token_rules(settings.tokens), parts, failures)


def test_users_are_taken_over_and_a_disabled_one_is_not_found(made: UserPages) -> None:
    anna = made.users.find("anna")
    assert anna
    assert anna.roles == ("clerk",)
    assert made.users.find("gone") is None
    assert made.users.name("gone") == "gone"  # for the log


def test_there_is_a_login_and_a_logout_page(made: UserPages) -> None:
    assert set(made.endpoints) == {endpoint_paths.AUTHORIZE, endpoint_paths.LOGOUT}
    request = EndpointRequest("GET", endpoint_paths.LOGOUT, "", (), b"", "peer")
    reply = asyncio.run(made.endpoints[endpoint_paths.LOGOUT](request))  # type: ignore[arg-type]
    assert (reply.status, b"Orders &amp; Co" in reply.body) == (200, True)
