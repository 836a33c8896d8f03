"""One `Store` made of many: the partitions of a Redis Cluster.

Rules:
- `core.partitions` says in which partition a key, a family or a token id is. A not-before time is in all of them, because the
  scripts of each partition check it.
- The view of a process is as current as that of its least current partition. A partition restores only what belongs to it.
- The store is up when every partition is up.
- The number of partitions is recorded in each of them. A process with another number would not read all of them, so it gets
  `StoreUnavailable` from the first one that it meets.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sidecar.core.events import Event, EventHandler, StoreChanged, StoreNoted, StoreUsed
from sidecar.core.oauth.refresh_tokens import Ended, Family, FamilyAccess, FamilyState, Rotated, Rotation
from sidecar.core.partitions import place_of_entry, place_of_key, place_of_token
from sidecar.core.ports import StoreCondition, StoreUnavailable
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.throttling import Budget, Consumed
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.feed import first_fault
from sidecar.stores.redis.lua import Command
from sidecar.stores.redis.scripts import RECORD
from sidecar.stores.redis.store import RedisStore

_TOLD_EVERY: Final = 60.0  # seconds between two equal notes of several partitions


class PartitionedStore:
    """A `Store`. `stores` are its partitions, in their order; `events` is what their events go to."""

    def __init__(self, stores: Sequence[RedisStore], events: "PartitionEvents") -> None:
        self._stores = stores
        self._events = events

    def __repr__(self) -> str:
        return f"<PartitionedStore of {len(self._stores)}, {self._events.down} down>"

    def _of_key(self, key: str) -> RedisStore:
        return self._stores[place_of_key(key, len(self._stores))]

    def _of_token(self, name: str) -> RedisStore:
        return self._stores[place_of_token(name, len(self._stores))]

    # The implementation of `core.ports.RevocationStore`.

    async def revoke(self, jti: str, exp: int) -> None:
        await self._of_token(jti).revoke(jti, exp)

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        await _all(store.set_not_before(not_before, until) for store in self._stores)

    async def follow(self, view: RevocationView) -> None:
        parts = partial_views(view, len(self._stores))
        await first_fault(*(store.follow(part) for store, part in zip(self._stores, parts, strict=True)))

    def condition(self) -> StoreCondition:
        found = [store.condition() for store in self._stores]
        return StoreCondition(
            max((each.skew for each in found), key=abs),
            sum(each.unreadable for each in found),
            next((each.fault_of_writes for each in found if each.fault_of_writes), ""),
            next((each.fault for each in found if each.fault), ""),
        )

    async def ping(self) -> None:
        await _all(store.ping() for store in self._stores)

    async def close(self) -> None:
        await _all(store.close() for store in self._stores)

    # The implementation of `core.ports.Store`.

    async def add(self, key: str, seconds: int) -> bool:
        return await self._of_key(key).add(key, seconds)

    async def put(self, key: str, value: str, seconds: int) -> None:
        await self._of_key(key).put(key, value, seconds)

    async def get(self, key: str) -> str | None:
        return await self._of_key(key).get(key)

    async def pop(self, key: str) -> str | None:
        return await self._of_key(key).pop(key)

    async def delete(self, key: str) -> None:
        await self._of_key(key).delete(key)

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        return await self._of_token(key).open_family(key, family, current, access, idle)

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        return await self._of_token(key).rotate(key, rotation)

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        return await self._of_token(key).end_family(key, client_id, forbid=forbid)

    async def read_family(self, key: str) -> FamilyState | None:
        return await self._of_token(key).read_family(key)

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        places: dict[int, list[int]] = {}
        for number, (key, _) in enumerate(budgets):
            places.setdefault(place_of_key(key, len(self._stores)), []).append(number)
        groups = list(places.items())
        answers = await _all(
            self._stores[place].consume([budgets[number] for number in numbers]) for place, numbers in groups
        )
        by_number = {
            number: consumed
            for (_, numbers), found in zip(groups, answers, strict=True)
            for number, consumed in zip(numbers, found, strict=True)
        }
        return [by_number[number] for number in range(len(budgets))]


async def _all(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all at once and wait for all, then raise the first fault."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def partial_views(view: RevocationView, count: int) -> list["PartialView"]:
    """The parts of a view, one for the feed of each partition."""
    moments = [-float("inf")] * count
    return [PartialView(view, moments, place) for place in range(count)]


class PartialView:
    """A `source.View`: what it learns goes to the whole view, which is confirmed for the earliest of the `moments` for which
    the parts are. `slices` gives the entries of this partition and all not-before times."""

    def __init__(self, view: RevocationView, moments: list[float], place: int) -> None:
        self._view = view
        self._moments = moments
        self._place = place
        self.add = view.add
        self.issued_too_early = view.issued_too_early
        self.purge = view.purge

    def __contains__(self, jti: str) -> bool:
        return jti in self._view

    @property
    def not_before(self) -> Mapping[str, int]:
        return self._view.not_before

    def confirm(self, moment: float) -> None:
        self._moments[self._place] = max(moment, self._moments[self._place])
        self._view.confirm(min(self._moments))

    def slices(self, now: float, size: int) -> Iterator[list[tuple[str, int]]]:
        count = len(self._moments)
        for entries in self._view.slices(now, size):
            yield [each for each in entries if place_of_entry(each[0], count) in (self._place, None)]


class PartitionEvents:
    """Makes the events of one store from those of its partitions."""

    def __init__(self, count: int, *, monotonic: Callable[[], float], emit: EventHandler) -> None:
        self._up: list[bool | None] = [None] * count
        self._writable = [True] * count
        self._monotonic = monotonic
        self._emit = emit
        self._said_up: bool | None = None
        self._said: dict[StoreNoted, float] = {}

    @property
    def down(self) -> int:
        """How many partitions are not up."""
        return sum(each is not True for each in self._up)

    def of(self, place: int) -> EventHandler:
        """The handler of the events of one partition."""

        def handle(event: Event) -> None:
            match event:
                case StoreChanged():
                    self._changed(place, event)
                case StoreNoted("store_not_writable" | "store_writable"):
                    self._wrote(place, event)
                case StoreNoted():
                    self._note(event)
                case StoreUsed():
                    self._emit(event)

        return handle

    def _changed(self, place: int, event: StoreChanged) -> None:
        self._up[place] = event.up
        if event.up:
            if self.down == 0 and self._said_up is not True:
                self._said_up = True
                self._emit(StoreChanged(up=True, detail="the revocation feeds of all partitions are continuous"))
        elif self._said_up is False:
            self._note(StoreNoted("store_down", event.detail))
        else:
            self._said_up = False
            self._emit(event)

    def _wrote(self, place: int, event: StoreNoted) -> None:
        before = all(self._writable)
        self._writable[place] = event.name == "store_writable"
        if all(self._writable) is not before:
            self._emit(event)

    def _note(self, event: StoreNoted) -> None:
        now = self._monotonic()
        self._said = {each: at for each, at in self._said.items() if now - at < _TOLD_EVERY}
        if event not in self._said:
            self._said[event] = now
            self._emit(event)


def record_of(server: Server, prefix: str, count: int) -> Command:
    """A command that records the number of partitions in one of them. It raises `StoreUnavailable` when another number is
    recorded there."""
    record = server.script(RECORD)

    async def check() -> None:
        known = await record({"record": f"{prefix}:partitions"}, {"count": count})()
        if known != str(count).encode():
            number = known.decode(errors="replace")[:10]
            raise StoreUnavailable(
                f"the data in Redis has {number} partitions, and store.partitions is {count}: "
                f"set it to {number}, or choose another store.prefix (docs/operations.md)"
            )

    return check
