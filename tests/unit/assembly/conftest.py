"""The parts that outlive a change of the configuration, for the tests of what is built on them."""

import contextlib
from collections.abc import Iterator

import pytest

from sidecar.assembly.living import Living, living
from sidecar.core.revocations import RevocationView
from sidecar.stores.memory import MemoryStore


@pytest.fixture
def parts() -> Iterator[Living]:
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    made = living(store, RevocationView(5), emit=lambda _: None, clock=lambda: 0.0, monotonic=lambda: 0.0)
    with contextlib.closing(made):
        yield made
