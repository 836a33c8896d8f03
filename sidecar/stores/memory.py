"""State in the memory of this process: for a single worker, and lost when it ends."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sidecar.core.events import EventHandler, StoreChanged
from sidecar.core.oauth import refresh_tokens as refresh
from sidecar.core.oauth.refresh_tokens import Ended, Family, FamilyAccess, FamilyState, Outcome, Rotated, Rotation
from sidecar.core.past import SurelyPast
from sidecar.core.ports import StoreCondition, StoreUnavailable
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.throttling import Budget, Budgets, Consumed

_PURGE_EVERY: Final = 60.0
_MOST_VALUES: Final = 100_000


class _Value(NamedTuple):
    text: str
    end: float


class MemoryStore:
    """A `Store` whose revocations are the view itself, so the view is always current. `clock` gives epoch seconds, `monotonic`
    monotonic ones; without it, `clock` is taken for one that is never stepped."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        emit: EventHandler,
        monotonic: Callable[[], float] | None = None,
        most_values: int = _MOST_VALUES,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic or clock
        self._past = SurelyPast(clock, self._monotonic)
        self._emit = emit
        self._view = RevocationView(math.inf)
        self._values: dict[str, _Value] = {}
        self._families: dict[str, FamilyState] = {}
        self._unused: dict[str, dict[str, None]] = {}  # families of clients' own grants, by client, the oldest first
        self._forbidden: dict[str, float] = {}  # keys of families, and until when none may be opened
        self._budgets = Budgets()
        self._most_values = most_values

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._view)} revoked, {len(self._values)} values>"

    # The implementation of `core.ports.RevocationStore`.

    async def revoke(self, jti: str, exp: int) -> None:
        self._view.add([(jti, exp)])

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        self._view.add([(not_before.entry, until)])

    async def follow(self, view: RevocationView) -> None:
        view.add(self._view.live(self._past()).items())
        self._view = view
        view.confirm(math.inf)
        self._emit(StoreChanged(up=True, detail="in memory"))
        while True:
            await asyncio.sleep(_PURGE_EVERY)
            self._purge()

    def condition(self) -> StoreCondition:
        return StoreCondition()

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        return

    # The implementation of `core.ports.Store`.

    async def add(self, key: str, seconds: int) -> bool:
        if await self.get(key) is not None:
            return False
        await self.put(key, "1", seconds)
        return True

    async def put(self, key: str, value: str, seconds: int) -> None:
        self._bounded(self._values, key)
        self._values[key] = _Value(value, self._clock() + seconds)

    async def get(self, key: str) -> str | None:
        value = self._values.get(key)
        return value.text if value is not None and self._clock() < value.end else None

    async def pop(self, key: str) -> str | None:
        text = await self.get(key)
        self._values.pop(key, None)
        return text

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        now = self._clock()
        forbidden = now < self._forbidden.get(key, now)
        if forbidden or self._view.issued_too_early(family.client_id, family.subject, family.issued):
            return False
        before = self._families.get(key)
        state = (
            FamilyState(family, current, now + idle, live=(access,))
            if before is None
            else refresh.open_again(before, family, current, access, now=now)
        )
        if state is None:
            return False
        self._bounded(self._families, key)
        self._families[key] = state
        if family.own and current:
            self._keep_unused(family.client_id, key)
        return True

    def _keep_unused(self, client_id: str, key: str) -> None:
        unused = self._unused.setdefault(client_id, {})
        unused[key] = None
        if len(unused) > refresh.MOST_UNUSED:
            self._families.pop(next(iter(unused)), None)
            del unused[next(iter(unused))]

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        now = self._clock()
        state = self._families.get(key)
        if state is None:
            return Rotated(Outcome.UNKNOWN)
        family = state.family
        early = self._view.issued_too_early(family.client_id, family.subject, family.issued)
        outcome, after = refresh.rotate(state, rotation, issued_too_early=early, now=now)
        self._families[key] = after
        if outcome in (Outcome.ROTATED, Outcome.REPEATED):
            self._unused.get(family.client_id, {}).pop(key, None)
            return Rotated(outcome, family, after.current)
        return Rotated(outcome, revoked=self._revoke_live(state) if after.ended else ())

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        state = self._families.get(key)
        if state is None:
            if forbid:
                self._bounded(self._forbidden, key)
                self._forbidden[key] = self._clock() + forbid
            return Ended(Outcome.UNKNOWN)
        if client_id not in (None, state.family.client_id):
            return Ended(Outcome.FOREIGN)
        self._families[key] = refresh.ended(state)
        return Ended(Outcome.ENDED, self._revoke_live(state))

    async def read_family(self, key: str) -> FamilyState | None:
        state = self._families.get(key)
        return None if state is None else state._replace(live=())

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        return self._budgets.consume(budgets, self._monotonic())

    def _revoke_live(self, state: FamilyState) -> tuple[str, ...]:
        now = self._past()
        live = [access for access in state.live if now < access.until]
        self._view.add(live)
        return tuple(access.jti for access in live)

    # Limits.

    def _bounded(self, entries: dict[str, Any], key: str) -> None:
        """Make room in `entries` for `key`. Raises `StoreUnavailable` rather than discard a live entry: a used code must stay
        used."""
        if key not in entries and len(entries) >= self._most_values:
            self._purge()
            if len(entries) >= self._most_values:
                raise StoreUnavailable("the memory store is full")

    def _purge(self) -> None:
        now = self._past()
        self._view.purge(now)
        self._budgets.purge(self._monotonic())
        _drop(self._values, [key for key, value in self._values.items() if now >= value.end])
        _drop(self._families, [key for key, state in self._families.items() if state.forgotten(now)])
        _drop(self._unused, [each for each, keys in self._unused.items() if keys.keys().isdisjoint(self._families)])
        _drop(self._forbidden, [key for key, end in self._forbidden.items() if now >= end])


def _drop(entries: dict[str, Any], keys: list[str]) -> None:
    for key in keys:
        del entries[key]
