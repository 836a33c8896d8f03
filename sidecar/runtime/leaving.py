"""The soft drain of a process, and waiting for the first of several events."""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from sidecar.runtime.sockets import Listener

log: Final = logging.getLogger("sidecar")


class SoftDrain:
    """Whether a process has begun to leave, and for how long it still serves new connections. `listeners` are those that it
    hands over to the next process."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)
        self._until = -math.inf  # monotonic seconds

    def __repr__(self) -> str:
        return f"<SoftDrain {f'{self.left:.1f} s left' if self.begun else 'not begun'}>"

    def begin(self, delay: float) -> bool:
        """Begin it, for `delay` seconds. Returns false when it has begun before: then nothing changes."""
        if self.begun:
            return False
        self._until = time.monotonic() + delay
        self.hand_over()
        log.info("drain_begun", extra={"delay": delay})
        return True

    @property
    def begun(self) -> bool:
        """Whether it has begun."""
        return self._until > -math.inf

    @property
    def left(self) -> float:
        """For how many seconds new connections are still served before the process may stop; 0 when it has not begun."""
        return max(0.0, self._until - time.monotonic())

    def hand_over(self) -> None:
        """Let the next process have the addresses. A second call changes nothing."""
        for listener in self.listeners:
            listener.hand_over()


async def first_of(*work: Coroutine[Any, Any, Any], within: float | None = None) -> None:
    """Wait until one of the coroutines is done, or so many seconds have passed, and cancel the others."""
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
