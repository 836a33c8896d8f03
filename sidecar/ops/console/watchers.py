"""Shows changes to those who watch, at most once in a while, however many there are.

Rules:
- Nothing is looked at while nobody watches.
- All watchers share one look. There are at most `MOST` of them.
- Each watcher gets the newest state when it is ready for one, and never a queue of older ones.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

MOST: Final = 16
_EVERY: Final = 2.0  # seconds between two looks

Sections = Mapping[str, str]
"""The HTML of each part of the page as JSON, by its id: written once for all who watch."""


class Watchers:
    """`look` gives the present state. A defect in it goes to `failed`, and the next look follows as usual."""

    def __init__(
        self, look: Callable[[], Awaitable[Sections]], failed: Callable[[Exception], None], every: float = _EVERY
    ) -> None:
        self._look = look
        self._failed = failed
        self._every = every
        self._count = 0
        self._state: Sections = {}
        self._version = 0
        self._changed = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._over = False

    def __repr__(self) -> str:
        return f"<Watchers {self._count}>"

    @property
    def full(self) -> bool:
        """Whether nobody else may watch at present."""
        return self._over or self._count >= MOST

    async def states(self) -> AsyncGenerator[Sections, None]:
        """The present state, and then each later one, until `end`. The caller closes the iterator (`contextlib.aclosing`)."""
        self._count += 1
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._watch(), name="console")
        seen = self._version - bool(self._state)  # whoever comes later gets the present state at once
        try:
            while True:
                async with self._changed:
                    while not self._over and self._version == seen:
                        await self._changed.wait()
                    if self._over:
                        return
                    seen, state = self._version, self._state
                yield state
        finally:
            self._count -= 1
            if not self._count:
                self._rest()

    async def _watch(self) -> None:
        while True:
            try:
                state = await self._look()
            except Exception as exc:  # noqa: BLE001  those who watch see the next state
                self._failed(exc)
            else:
                async with self._changed:
                    self._state, self._version = state, self._version + 1
                    self._changed.notify_all()
            await asyncio.sleep(self._every)

    def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._state = {}

    async def end(self) -> None:
        """End every watcher's iteration."""
        async with self._changed:
            self._over = True
            self._changed.notify_all()
