"""assembly.living: what outlives a change of the configuration."""

import contextlib
import math

import pytest

from sidecar.assembly.living import Living, living, new_id, new_secret
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import Cutoff, RevocationView
from sidecar.stores.memory import MemoryStore


@pytest.fixture
def parts() -> Living:
    view = RevocationView(5)
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    return living(store, view, emit=lambda _: None, clock=lambda: 0.0, monotonic=lambda: 0.0)


def test_what_began_before_a_revocation_has_ended(parts: Living) -> None:
    with contextlib.closing(parts):
        parts.view.confirm(math.inf)
        parts.view.add([(Cutoff("subject", "anna", 100).entry, 10_000)])
        assert parts.ended("", "anna", 100.9)
        assert not parts.ended("", "anna", 101.0)
        assert not parts.ended("", "bob", 50.0)


def test_a_stale_view_cannot_say(parts: Living) -> None:
    with contextlib.closing(parts), pytest.raises(StoreUnavailable):
        parts.ended("", "anna", 100.0)


def test_failures_of_clients_and_users_are_apart(parts: Living) -> None:
    with contextlib.closing(parts):
        assert parts.failures["client"] is not parts.failures["user"]


def test_ids_and_secrets_cannot_be_guessed() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    assert {len(new_id()), len(new_secret())} == {22, 43}
