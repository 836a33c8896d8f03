"""Users who log in, and their passwords as argon2id hashes (RFC 9106), which take tens of milliseconds to verify.

An unknown name takes as long as a known one: its password is checked against the hash of a user whom a keyed digest of the name
selects. Each name therefore always takes the same time, and known and unknown names are checked against the same hashes.
"""

import base64
import binascii
import hmac
import re
import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerificationError

from sidecar.core.digests import digest
from sidecar.core.reasons import Reason, Refused

LONGEST_PASSWORD: Final = 1024
_SHAPE: Final = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>[0-9]{1,8}),t=(?P<t>[0-9]{1,3}),p=(?P<p>[0-9]{1,2})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<digest>[A-Za-z0-9+/]{43})"
)
_MOST_MEMORY: Final = 256 * 1024  # KiB
_LEAST_MEMORY: Final = 7 * 1024
_MOST_WORK: Final = 2 * 1024 * 1024  # memory times passes, in KiB: about two seconds
# RFC 9106 section 4, second recommended option, with fewer lanes for few cores: 64 MiB, about 60 ms.
_HASHER: Final = PasswordHasher(
    time_cost=3, memory_cost=64 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
)


class InvalidPasswordHash(ValueError):
    """A text is not an acceptable password hash. The message says why and never shows the text."""


class User(NamedTuple):
    """A user. `scope` limits what any client gets for the user; with `None`, only the client's own scope limits it."""

    username: str
    password_hash: str
    roles: tuple[str, ...] = ()
    scope: tuple[str, ...] | None = None
    disabled: bool = False

    def __repr__(self) -> str:
        return f"<User {self.username}>"

    @property
    def password_version(self) -> str:
        """Changes with the password, so that a new password ends the sessions of the old one."""
        return digest(self.password_hash)[:16]


def hash_password(password: str) -> str:
    """The value for `password_hash`, with a random salt."""
    return _HASHER.hash(_prepared(password))


def check_password_hash(text: str) -> None:
    """Raises `InvalidPasswordHash` unless `text` is an argon2id hash of a reasonable cost."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise InvalidPasswordHash("is not an argon2id hash; make one with: sidecar hash-password")
    memory, times, lanes = map(int, match.group("m", "t", "p"))
    if not all(map(_canonical, match.group("salt", "digest"))):
        raise InvalidPasswordHash("was cut or changed: make it again with sidecar hash-password")
    if not (_LEAST_MEMORY <= memory <= _MOST_MEMORY and times and 1 <= lanes <= 16 and times * memory <= _MOST_WORK):
        raise InvalidPasswordHash("has a cost out of bounds: m from 7168 to 262144 (KiB), m times t up to 2097152")


class UserDirectory:
    """The users by name. `key`: 32 random bytes that only this process has."""

    def __init__(self, users: Iterable[User], key: bytes) -> None:
        self._users = {user.username: user for user in users}
        self._hashes = [user.password_hash for user in self._users.values()]
        self._key = key

    def __repr__(self) -> str:
        return f"<UserDirectory {len(self._users)} users>"

    def find(self, username: str) -> User | None:
        """The user of this name; `None` if there is none, or if the user is disabled."""
        user = self._users.get(username)
        return None if user is None or user.disabled else user

    def name(self, typed: str) -> str | None:
        """The name, if a user has it, disabled or not. Anything else may be a password in the wrong field, and is never
        shown."""
        return typed if typed in self._users else None

    def authenticate(self, username: str, password: str) -> User:
        """Return the user if the password is right. Takes tens of milliseconds. Raises `Refused(BAD_CREDENTIALS)`, also for a
        disabled user."""
        user = self.find(username)
        encoded = self._decoy(username) if user is None else user.password_hash
        passed = encoded is not None and len(password) <= LONGEST_PASSWORD and _matches(encoded, password)
        if user is None or not passed:
            raise Refused(Reason.BAD_CREDENTIALS)
        return user

    def _decoy(self, username: str) -> str | None:
        if not self._hashes:
            return None
        picked = hmac.digest(self._key, username.encode("utf-8", "surrogatepass"), "sha256")
        return self._hashes[int.from_bytes(picked, "big") % len(self._hashes)]


def _matches(encoded: str, password: str) -> bool:
    try:
        return _HASHER.verify(encoded, _prepared(password))
    except VerificationError:
        return False


def _canonical(text: str) -> bool:
    """Whether `text` is canonical base64 without padding. A hash in any other spelling could not be verified later."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return base64.b64encode(data).rstrip(b"=").decode() == text


def _prepared(password: str) -> bytes:
    """The normalised form of a password: keyboards encode the same characters differently (RFC 8265 section 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
