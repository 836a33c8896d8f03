"""Reading signed JWTs apart, strictly: three base64url segments in their one spelling, and JSON without double meanings.

What two readers could read differently is refused: padding, stray bits, duplicate members, NaN. The checks that a
signature or a claim needs are for who reads: `core.tokens` for ours, `core.jose.assertions` for those of clients.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

MAX_TOKEN: Final = 8 * 1024
"""Characters of a JWT that is looked at."""
COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""The compact serialization of RFC 7515 section 7.1, with nothing empty."""


class Malformed(ValueError):
    """Bytes that are not what they should be; the text shows nothing of them."""


def decode(segment: str) -> bytes:
    """base64url in its one canonical spelling. Raises `Malformed`."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError):
        raise Malformed("not base64url") from None
    if encode(data) != segment:
        raise Malformed("another spelling")
    return data


def encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object without duplicate members, NaN or Infinity. Raises `Malformed`."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not an object")
    return value


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError("duplicate member")
        members[name] = value
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
