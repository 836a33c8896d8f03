"""How far somebody gets who guesses in parallel."""

import contextlib

from sidecar.core.throttling import Rate
from sidecar.oauth.clients.throttle import Memory, Rates, Throttle
from sidecar.stores.memory import MemoryStore


def test_attempts_that_are_not_counted_yet_are_few() -> None:
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    throttle = Throttle("client", Rates(None, None, Rate(30, 60)), memory=Memory(), store=store, monotonic=lambda: 0.0)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            assert throttle.wait("c", "a") == 0
            stack.enter_context(throttle.open("c", "a"))
        assert throttle.stops
        assert throttle.wait("c", "a") == 1
        assert throttle.wait("c", "b") == 0
        assert throttle.wait("d", "a") == 0
    assert throttle.wait("c", "a") == 0
    assert not throttle.stops
