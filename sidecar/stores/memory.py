"""State in this process alone: for one worker, and gone with it."""

import asyncio
import math
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.events import Listener, StoreChanged
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import RevocationView

_PURGE_EVERY: Final = 60.0
_MOST_VALUES: Final = 100_000


class _Value(NamedTuple):
    text: str
    end: float


class MemoryStore:
    """A `Store` whose revocations are the view itself, which is therefore always current."""

    def __init__(self, *, clock: Callable[[], float], emit: Listener, most_values: int = _MOST_VALUES) -> None:
        self._clock = clock
        self._emit = emit
        self._view = RevocationView(math.inf)
        self._values: dict[str, _Value] = {}
        self._most_values = most_values

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._view)} revoked, {len(self._values)} values>"

    # What `core.ports.RevocationStore` asks for.

    async def revoke(self, jti: str, exp: int) -> None:
        self._view.add([(jti, exp)])

    async def follow(self, view: RevocationView) -> None:
        view.add(self._view.live(self._clock()).items())
        self._view = view
        view.confirm(math.inf)
        self._emit(StoreChanged(up=True, detail="in memory"))
        while True:
            await asyncio.sleep(_PURGE_EVERY)
            self._purge()

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        return

    # What `core.ports.Store` asks for.

    async def once(self, key: str, seconds: int) -> bool:
        if await self.get(key) is not None:
            return False
        await self.put(key, "1", seconds)
        return True

    async def put(self, key: str, value: str, seconds: int) -> None:
        self._make_room(key)
        self._values[key] = _Value(value, self._clock() + seconds)

    async def get(self, key: str) -> str | None:
        value = self._values.get(key)
        return value.text if value is not None and self._clock() < value.end else None

    async def take(self, key: str) -> str | None:
        text = await self.get(key)
        self._values.pop(key, None)
        return text

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)

    # Bounds.

    def _make_room(self, key: str) -> None:
        """Raises `StoreUnavailable` rather than forget what lives: a code that was used must stay used."""
        if key not in self._values and len(self._values) >= self._most_values:
            self._purge()
            if len(self._values) >= self._most_values:
                raise StoreUnavailable("the memory store is full")

    def _purge(self) -> None:
        now = self._clock()
        self._view.purge(now)
        self._values = {key: value for key, value in self._values.items() if now < value.end}
