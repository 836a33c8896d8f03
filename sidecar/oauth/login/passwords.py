"""A user name and a password, checked without holding up anybody: one at a time in a thread, for each takes tens of
milliseconds and as many MiB. When too many wait, the next is told to try again.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.reasons import Refused
from sidecar.oauth.clients.hash_queue import HashQueue


class Throttle(Protocol):
    """Slows down who guesses passwords."""

    def check(self, username: str, peer: str) -> None:
        """Raises `Refused(THROTTLED)` when too many attempts have failed."""

    def open(self, username: str, peer: str) -> AbstractContextManager[None]:
        """Encloses an attempt."""

    async def failed(self, username: str, peer: str) -> None:
        """Count an attempt that failed."""


class Logins:
    """Checks passwords. `close` ends its thread."""

    def __init__(self, users: UserDirectory, throttle: Throttle) -> None:
        self._users = users
        self._throttle = throttle
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._queue = HashQueue()

    def __repr__(self) -> str:
        return f"<Logins {self._queue}>"

    async def check(self, username: str, password: str, peer: str) -> User:
        """The user. Raises `Refused`: `BAD_CREDENTIALS`, `THROTTLED`."""
        self._throttle.check(username, peer)
        with self._throttle.open(username, peer), self._queue.place(peer):
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._thread, self._users.authenticate, username, password)
            except Refused:
                await self._throttle.failed(username, peer)
                raise

    def close(self) -> None:
        """End the thread; what waits is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)
