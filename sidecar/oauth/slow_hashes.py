"""Slow hashes, computed without blocking the event loop, and with a limit on the CPU time that a caller can use up.

A hash takes tens of milliseconds and up to 64 MiB. So hashes run one at a time in a thread. At most 16 attempts are in progress
or wait, at most 12 of them from one address. Any further attempt is answered with 429.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from sidecar.core.reasons import Reason, Refused

_MOST: Final = 16
_MOST_OF_ONE: Final = 12
_T = TypeVar("_T")


class SlowHashes:
    """One thread, called `name`, and its queue of at most `limit` attempts; `refused` counts those that found no place. It
    outlives every change of the configuration. `close` ends it."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: Counter[str] = Counter()
        self.refused = 0
        self.limit = _MOST

    def __repr__(self) -> str:
        return f"{self.waiting} waiting"

    @property
    def waiting(self) -> int:
        """How many attempts are in progress or wait."""
        return self._waiting.total()

    async def run(self, check: Callable[..., _T], *arguments: object, peer: str, client_id: str | None = None) -> _T:
        """Run `check` in the thread; returns or raises what `check` does. `peer` is the address of the caller. Raises
        `Refused(THROTTLED)` with this `client_id` when the queue is full."""
        with self._place(peer, client_id):
            return await asyncio.get_running_loop().run_in_executor(self._thread, check, *arguments)

    @contextmanager
    def _place(self, peer: str, client_id: str | None) -> Iterator[None]:
        if self._waiting[peer] >= _MOST_OF_ONE or self.waiting >= self.limit:
            self.refused += 1
            raise Refused(Reason.THROTTLED, client_id=client_id)
        self._waiting[peer] += 1
        try:
            yield
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]

    def close(self) -> None:
        """End the thread and cancel the attempts that wait. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)
