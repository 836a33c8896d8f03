"""Parsing signed JWTs strictly: the compact serialization (RFC 7515 section 7.1), and JSON that has one meaning.

Anything that two parsers could read differently is refused: duplicate members and NaN here, padding and stray bits in
`core.base64url`. The callers check signatures and claims: `core.tokens` those of access tokens, `core.jose.assertions` those of
client assertions.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

MAX_TOKEN: Final = 8 * 1024
"""The longest JWT that is parsed, in characters."""
COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""The compact serialization of RFC 7515 section 7.1, without empty segments."""


class Malformed(ValueError):
    """Bytes that cannot be parsed. The message shows nothing of them."""


def read_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate members, NaN or Infinity, nor numbers beyond every float. Raises `Malformed`."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant, parse_float=_finite
        )
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


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("beyond every float")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
