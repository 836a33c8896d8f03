"""stores.timed: every operation is timed, and does what the store behind it does."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import pytest

from sidecar.core.events import StoreOperation, StoreUsed
from sidecar.core.oauth.refresh_tokens import Family, FamilyAccess, Rotation
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import NotBefore
from sidecar.stores.timed import TimedStore

CALLS: dict[str, tuple[StoreOperation, Callable[[TimedStore], Awaitable[Any]]]] = {
    "revoke": ("revoke", lambda store: store.revoke("j", 9)),
    "set_not_before": ("revoke", lambda store: store.set_not_before(NotBefore("client", "c", 1), 9)),
    "ping": ("read", lambda store: store.ping()),
    "add": ("write", lambda store: store.add("k:1", 5)),
    "put": ("write", lambda store: store.put("k:1", "v", 5)),
    "get": ("read", lambda store: store.get("k:1")),
    "pop": ("write", lambda store: store.pop("k:1")),
    "delete": ("write", lambda store: store.delete("k:1")),
    "open_family": ("refresh", lambda store: store.open_family("f", _any(Family), "d", _any(FamilyAccess), 5)),
    "rotate": ("refresh", lambda store: store.rotate("f", _any(Rotation))),
    "end_family": ("refresh", lambda store: store.end_family("f", "c", forbid=3)),
    "read_family": ("refresh", lambda store: store.read_family("f")),
    "consume": ("throttle", lambda store: store.consume([])),
}


def _any(kind: type) -> Any:
    return kind


class Behind:
    """A store that takes two seconds for everything, and notes what it was asked. With `away` it does not answer."""

    def __init__(self, *, away: bool = False) -> None:
        self.now = 100.0
        self.away = away
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.events: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def work(*given: Any, **named: Any) -> object:
            self.now += 2
            self.asked.append((name, given, named))
            if self.away:
                raise StoreUnavailable("away")
            return self

        return work

    def timed(self) -> TimedStore:
        return TimedStore(self, emit=self.events.append, monotonic=lambda: self.now)  # type: ignore[arg-type]


def test_every_operation_is_among_these() -> None:
    operations = {name for name, _ in inspect.getmembers(Store, inspect.iscoroutinefunction)}
    assert operations - {"follow", "close"} == CALLS.keys()
    assert {kind for kind, _ in CALLS.values()} | {"heartbeat"} == set(get_args(StoreOperation))


@pytest.mark.parametrize("name", CALLS)
def test_an_operation_is_passed_on_and_timed(name: str) -> None:
    behind, (kind, call) = Behind(), CALLS[name]
    answer = asyncio.run(_awaited(call(behind.timed())))
    ((asked, given, _),) = behind.asked
    assert asked == name
    assert answer in (behind, None)
    assert len(given) >= (0 if name == "ping" else 1)
    assert behind.events == [StoreUsed(kind, 2.0, answered=True)]


@pytest.mark.parametrize("name", CALLS)
def test_one_that_is_not_answered_is_said_to_be(name: str) -> None:
    behind, (kind, call) = Behind(away=True), CALLS[name]
    with pytest.raises(StoreUnavailable):
        asyncio.run(_awaited(call(behind.timed())))
    assert behind.events == [StoreUsed(kind, 2.0, answered=False)]


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work
