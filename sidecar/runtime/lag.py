"""Measures by how much the event loop is late: what delays a timer delays every request as well."""

import asyncio
from collections.abc import Callable
from typing import Final

_EVERY: Final = 0.1  # seconds; a pause of at least this length is always seen, a shorter one as often as its part of it


class LagMeter:
    """Sets a timer again and again, and tells `observe` by how many seconds it was late. `monotonic` gives seconds."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, monotonic: Callable[[], float], observe: Callable[[float], None]
    ) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._observe = observe
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<LagMeter {'off' if self._timer is None else 'on'}>"

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._monotonic() + _EVERY
        self._timer = self._loop.call_later(_EVERY, self._ring)

    def _ring(self) -> None:
        self._observe(max(0.0, self._monotonic() - self._due))
        self.start()

    def stop(self) -> None:
        """Measure no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
