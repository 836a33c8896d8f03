"""Revocations in this process alone: for one worker, and gone with it."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from sidecar.core.events import Listener, StoreChanged
from sidecar.core.revocations import RevocationView

_PURGE_EVERY: Final = 60.0


class MemoryStore:
    """A `RevocationStore` whose store is the view itself, which is therefore always current."""

    def __init__(self, *, clock: Callable[[], float], emit: Listener) -> None:
        self._clock = clock
        self._emit = emit
        self._view = RevocationView(math.inf)

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._view)} revoked>"

    async def revoke(self, jti: str, exp: int) -> None:
        self._view.add([(jti, exp)])

    async def follow(self, view: RevocationView) -> None:
        view.add(self._view.live(self._clock()).items())
        self._view = view
        view.confirm(math.inf)
        self._emit(StoreChanged(up=True, detail="in memory"))
        while True:
            await asyncio.sleep(_PURGE_EVERY)
            view.purge(self._clock())

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        return
