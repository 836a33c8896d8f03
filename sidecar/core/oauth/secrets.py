"""Hashes of client secrets, which a configuration file may contain.

There are two schemes:

- `sha256$SALT$DIGEST`, an HMAC-SHA256 keyed with the salt. A generated secret (32 characters or more) cannot be guessed
  at any speed. A slow hash would protect nothing, and anyone who sends wrong secrets could exhaust the sidecar's CPU.
- `scrypt$ln=14,r=8,p=1$SALT$DIGEST` (RFC 7914) for a secret that a person chose. It takes about 50 ms and 16 MiB, so the
  caller limits how many run at once (`oauth.clients.authentication`), and remembers a success (`core.oauth.clients`).

SALT and DIGEST are base64url without padding.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256

from sidecar.core.base64url import InvalidBase64url, decode, encode
from sidecar.core.jose.algorithms import keyed_hmac

Scheme = Literal["sha256", "scrypt"]

_GENERATED_LENGTH: Final = 32
_SCRYPT: Final = (14, 8, 1)
_MAX_MEMORY: Final = 64 * 1024 * 1024
_PARAMETERS: Final = re.compile(r"ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})")
_LONGEST: Final = 512


class InvalidSecretHash(ValueError):
    """A text is not a secret hash. The message says what is wrong and never shows the text."""


class SecretHash(NamedTuple):
    """A hashed secret. `cost` is `(ln, r, p)` for scrypt, `None` for the keyed digest."""

    salt: bytes
    digest: bytes
    cost: tuple[int, int, int] | None

    def __repr__(self) -> str:
        return f"<SecretHash {'scrypt' if self.cost else 'sha256'}>"

    @property
    def slow(self) -> bool:
        """Whether `matches` takes tens of milliseconds and must not run on the event loop."""
        return self.cost is not None

    def matches(self, secret: str) -> bool:
        """Whether `secret` is the hashed one; compared in constant time."""
        if "\0" in secret:  # scrypt ignores trailing NULs (they pad an HMAC key), and RFC 6749 allows no NUL
            return False
        return hmac.compare_digest(_digest(secret, self.salt, self.cost, len(self.digest)), self.digest)


def choose_scheme(secret: str) -> Scheme:
    """`sha256` for a secret that is long enough to be a generated one, `scrypt` for one that could be guessed."""
    return "sha256" if len(secret) >= _GENERATED_LENGTH else "scrypt"


def hash_secret(secret: str, salt: bytes, scheme: Scheme) -> str:
    """The value for `client_secret_hash`. `salt`: 16 random bytes."""
    if scheme == "sha256":
        return f"sha256${encode(salt)}${encode(_digest(secret, salt, None, 32))}"
    ln, r, p = _SCRYPT
    return f"scrypt$ln={ln},r={r},p={p}${encode(salt)}${encode(_digest(secret, salt, _SCRYPT, 32))}"


def parse_secret_hash(text: str) -> SecretHash:
    """Parse the result of `hash_secret`. Raises `InvalidSecretHash`, also for a cost that is too small or too large."""
    parts = text.split("$") if len(text) <= _LONGEST else []
    if len(parts) == 3 and parts[0] == "sha256":
        salt, digest = _decode(parts[1]), _decode(parts[2])
        cost = None
    elif len(parts) == 4 and parts[0] == "scrypt":
        cost, salt, digest = _cost(parts[1]), _decode(parts[2]), _decode(parts[3])
    else:
        raise InvalidSecretHash("is not a secret hash; make one with: sidecar hash-secret")
    if not 8 <= len(salt) <= 64 or len(digest) != 32:
        raise InvalidSecretHash("was cut or changed: make it again with sidecar hash-secret")
    return SecretHash(salt, digest, cost)


def _cost(text: str) -> tuple[int, int, int]:
    match = _PARAMETERS.fullmatch(text)
    ln, r, p = map(int, match.groups()) if match else (0, 0, 0)
    # RFC 7914 section 2: N is less than 2^(128 r / 8).
    if not (10 <= ln < min(21, 16 * r) and 1 <= p <= 4 and 128 * r * 2**ln <= _MAX_MEMORY // 2):
        raise InvalidSecretHash("has scrypt parameters out of bounds: ln=10 or more, p up to 4, 32 MiB at most")
    return ln, r, p


@lru_cache(1024)
def _salted(salt: bytes) -> Callable[[bytes], bytes]:
    """The HMAC-SHA256 that is keyed with a salt, which is no secret. Cached, because a busy client needs it for each token."""
    return keyed_hmac(salt, SHA256())


def _digest(secret: str, salt: bytes, cost: tuple[int, int, int] | None, length: int) -> bytes:
    data = secret.encode("utf-8", "surrogatepass")
    if cost is None:
        return _salted(salt)(data)
    ln, r, p = cost
    return hashlib.scrypt(data, salt=salt, n=2**ln, r=r, p=p, maxmem=_MAX_MEMORY, dklen=length)


def _decode(text: str) -> bytes:
    try:
        return decode(text)
    except InvalidBase64url:
        raise InvalidSecretHash("was cut or changed: make it again with sidecar hash-secret") from None
