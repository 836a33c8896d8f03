"""assembly.living: what outlives a change of the configuration."""

import math

import pytest

from sidecar.assembly.living import Living, new_id, new_secret
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import NotBefore


def test_what_began_before_a_revocation_has_ended(parts: Living) -> None:
    parts.view.confirm(math.inf)
    parts.view.add([(NotBefore("subject", "anna", 100).entry, 10_000)])
    assert parts.ended("", "anna", 100.9)
    assert not parts.ended("", "anna", 101.0)
    assert not parts.ended("", "bob", 50.0)


def test_a_stale_view_cannot_say(parts: Living) -> None:
    with pytest.raises(StoreUnavailable):
        parts.ended("", "anna", 100.0)


def test_failures_of_clients_and_users_are_apart(parts: Living) -> None:
    assert parts.failures["client"] is not parts.failures["user"]


def test_ids_and_secrets_cannot_be_guessed() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    assert {len(new_id()), len(new_secret())} == {22, 43}
