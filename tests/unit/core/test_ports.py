"""core.ports: both stores fulfil the protocol, and what a store may say about itself."""

import inspect

import pytest

from sidecar.core.ports import RevocationStore, Store, StoreCondition, StoreUnavailable
from sidecar.stores.memory import MemoryStore
from sidecar.stores.redis.store import RedisStore

METHODS = [
    name for protocol in (RevocationStore, Store) for name, _ in inspect.getmembers(protocol, inspect.isfunction)
    if not name.startswith("_")
]  # fmt: skip


@pytest.mark.parametrize("store", [MemoryStore, RedisStore])
@pytest.mark.parametrize("name", sorted(set(METHODS)))
def test_a_store_has_every_method_with_the_same_parameters(store: type, name: str) -> None:
    protocol = Store if hasattr(Store, name) else RevocationStore
    asked, given = (inspect.signature(getattr(each, name)) for each in (protocol, store))
    assert [*given.parameters] == [*asked.parameters]
    assert inspect.iscoroutinefunction(getattr(store, name)) is inspect.iscoroutinefunction(getattr(protocol, name))


def test_a_store_is_well_until_it_says_otherwise() -> None:
    assert StoreCondition() == (0.0, 0, "", "")


def test_a_store_that_is_missing_is_no_fault_of_a_value() -> None:
    assert not issubclass(StoreUnavailable, ValueError | OSError)
