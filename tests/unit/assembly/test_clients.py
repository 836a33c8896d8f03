"""assembly.clients: the registry, and who is found out how."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.assembly.clients import authenticator, client_registry, throttle, unguessable
from sidecar.assembly.living import Living, living
from sidecar.config.settings import Client, Settings
from sidecar.core.events import Event, SecretUsed
from sidecar.core.oauth.secrets import hash_secret
from sidecar.core.reasons import Refused
from sidecar.core.replies import EndpointRequest
from sidecar.core.revocations import RevocationView
from sidecar.stores.memory import MemoryStore
from tests.support.process import configuration

LONG = "x" * 43
SETTINGS = Settings.model_validate(configuration("http://127.0.0.1:1"))
EVENTS: list[Event] = []


@pytest.fixture
def parts() -> Iterator[Living]:
    EVENTS.clear()
    store = MemoryStore(clock=lambda: 7.0, emit=EVENTS.append)
    with contextlib.closing(
        living(store, RevocationView(5), emit=EVENTS.append, clock=lambda: 7.0, monotonic=lambda: 0.0)
    ) as made:
        yield made


def client(**fields: Any) -> Client:
    return Client.model_validate({"client_id": "c", "grant_types": ["client_credentials"], **fields})


def test_a_client_is_taken_over_with_its_secret_as_a_hash() -> None:
    registry = client_registry(SETTINGS.clients)
    found = registry.find("reporting")
    assert found
    assert (found.scope, found.roles, found.grant_types) == (("orders:read", "orders:write"), ("analyst",), {"client_credentials"})  # fmt: skip
    assert "reporting-secret" not in repr(found)
    assert registry.find("nobody") is None


def test_several_hashes_are_several_secrets() -> None:
    hashes = [hash_secret(secret, bytes(16), "sha256") for secret in (LONG, LONG + "y")]
    (made,) = client_registry((client(client_secret_hashes=hashes),))
    assert len(made.secrets) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"client_secret": "short"}, False),
        ({"client_secret": LONG}, True),
        ({"client_secret_hash": hash_secret("short", bytes(16), "scrypt")}, False),
        ({"client_secret_hash": hash_secret(LONG, bytes(16), "sha256")}, True),
    ],
)
def test_what_can_be_guessed(fields: dict[str, Any], said: bool) -> None:
    assert unguessable(client(**fields)) is said


def ask(parts: Living, secret: str) -> str:
    request = EndpointRequest("POST", "/oauth/token", "", (), b"", "10.0.0.1")
    found = authenticator(SETTINGS, client_registry(SETTINGS.clients), parts)
    return asyncio.run(found.authenticate(request, {"client_id": "reporting", "client_secret": secret})).client_id


def test_a_client_is_recognised_and_its_secret_noted(parts: Living) -> None:
    assert ask(parts, "reporting-secret") == "reporting"
    assert [SecretUsed("reporting", 0, 7.0)] == EVENTS or EVENTS[0].at == 7.0  # type: ignore[union-attr]


def test_failures_are_remembered_by_what_lives_on(parts: Living) -> None:
    """Another authenticator, as after a change of the configuration, knows of them."""
    for _ in range(200):
        with contextlib.suppress(Refused):
            ask(parts, "wrong")
    assert throttle(SETTINGS.throttling, "client", parts).stops
    assert not throttle(SETTINGS.throttling, "user", parts).stops
