"""Checks user names and passwords without blocking the event loop: one at a time in a thread, because each check takes tens of
milliseconds and tens of MiB. When too many wait, the next user is asked to try again.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.slow_hashes import SlowHashes


class LoginThrottle(Protocol):
    """Slows down the guessing of passwords."""

    def check(self, username: str, peer: str) -> None:
        """Raises `Refused(THROTTLED)` when too many attempts have failed."""

    def open(self, username: str, peer: str) -> AbstractContextManager[None]:
        """Enclose an attempt."""

    async def failed(self, username: str, peer: str) -> None:
        """Count a failed attempt."""


class Logins:
    """Checks passwords."""

    def __init__(self, users: UserDirectory, throttle: LoginThrottle, hashes: SlowHashes) -> None:
        self._users = users
        self._throttle = throttle
        self._hashes = hashes

    def __repr__(self) -> str:
        return f"<Logins {self._hashes}>"

    async def check(self, username: str, password: str, peer: str) -> User:
        """The user. Raises `Refused` (`BAD_CREDENTIALS`, `THROTTLED`)."""
        self._throttle.check(username, peer)
        with self._throttle.open(username, peer):
            try:
                return await self._hashes.run(self._users.authenticate, username, password, peer=peer)
            except Refused as exc:
                if exc.reason is not Reason.THROTTLED:  # THROTTLED: the password was not checked
                    await self._throttle.failed(username, peer)
                raise
