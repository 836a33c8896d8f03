"""A store whose operations are timed, for the metrics."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sidecar.core.events import EventHandler, StoreOperation, StoreUsed
from sidecar.core.oauth.refresh_tokens import Ended, Family, FamilyAccess, FamilyState, Rotated, Rotation
from sidecar.core.ports import Store, StoreCondition, StoreUnavailable
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.throttling import Budget, Consumed

_T = TypeVar("_T")


class TimedStore:
    """The `Store` behind it, with a `StoreUsed` for each operation that has ended. `monotonic` gives seconds."""

    def __init__(self, store: Store, *, emit: EventHandler, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._emit = emit
        self._monotonic = monotonic

    def __repr__(self) -> str:
        return f"<TimedStore {self._store}>"

    async def _timed(self, operation: StoreOperation, work: Awaitable[_T]) -> _T:
        begun = self._monotonic()
        try:
            answer = await work
        except StoreUnavailable:
            self._emit(StoreUsed(operation, self._monotonic() - begun, answered=False))
            raise
        self._emit(StoreUsed(operation, self._monotonic() - begun, answered=True))
        return answer

    # The implementation of `core.ports.RevocationStore`.

    async def revoke(self, jti: str, exp: int) -> None:
        await self._timed("revoke", self._store.revoke(jti, exp))

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        await self._timed("revoke", self._store.set_not_before(not_before, until))

    async def follow(self, view: RevocationView) -> None:
        await self._store.follow(view)

    def condition(self) -> StoreCondition:
        return self._store.condition()

    async def ping(self) -> None:
        await self._timed("read", self._store.ping())

    async def close(self) -> None:
        await self._store.close()

    # The implementation of `core.ports.Store`.

    async def add(self, key: str, seconds: int) -> bool:
        return await self._timed("write", self._store.add(key, seconds))

    async def put(self, key: str, value: str, seconds: int) -> None:
        await self._timed("write", self._store.put(key, value, seconds))

    async def get(self, key: str) -> str | None:
        return await self._timed("read", self._store.get(key))

    async def pop(self, key: str) -> str | None:
        return await self._timed("write", self._store.pop(key))

    async def delete(self, key: str) -> None:
        await self._timed("write", self._store.delete(key))

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        return await self._timed("refresh", self._store.open_family(key, family, current, access, idle))

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        return await self._timed("refresh", self._store.rotate(key, rotation))

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        return await self._timed("refresh", self._store.end_family(key, client_id, forbid=forbid))

    async def read_family(self, key: str) -> FamilyState | None:
        return await self._timed("refresh", self._store.read_family(key))

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        return await self._timed("throttle", self._store.consume(budgets))
