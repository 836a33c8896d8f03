"""The cookie of a login: its names, and taking it out of what goes on to the API.

Rules:
- Whoever has the cookie is the user, so only our own pages see it.
- A cookie counts as ours when any server would read its name as ours: with white space or quotes around it, or as PHP reads
  names (`.` and space are `_`, `[` ends one). So does one that hides ours: some servers also part cookies at a comma or at
  white space.
- Every other cookie keeps its bytes and its place.
"""

import re
from typing import Final

LOGIN: Final = "sidecar"
SECURE_LOGIN: Final = "__Host-sidecar"  # over TLS
LOGIN_VALUE: Final = "[A-Za-z0-9_-]{43}"
"""The expression for what a value of ours is: 256 bits in base64url."""

MARK: Final = LOGIN.encode()
"""What stands in every `Cookie` that `without_login` would change."""

_NAMES: Final = frozenset([LOGIN.encode(), SECURE_LOGIN.encode()])
_AROUND: Final = b'\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f "\x85\xa0'  # quotes, and what `str.strip` takes away
_AS_PHP: Final = bytes.maketrans(b". ", b"__")
_HIDDEN: Final = re.compile(
    rb"(?<![!#$%&'*+.^_`|~0-9A-Za-z-])(?:__Host-)?sidecar[\s\"]*=[\s\"]*" + LOGIN_VALUE.encode() + rb"(?![A-Za-z0-9_-])"
)


def without_login(cookies: bytes) -> bytes:
    """The value of a `Cookie` field without our cookies; empty when nothing else was in it."""
    pairs = cookies.split(b";")
    kept = [pair for pair in pairs if MARK not in pair or not _is_login(pair)]
    if len(kept) == len(pairs):
        return cookies
    rest = b";".join(kept).strip(b" \t")
    return rest if rest.strip(b"; \t") else b""


def _is_login(pair: bytes) -> bool:
    name = pair.partition(b"=")[0].partition(b"[")[0].strip(_AROUND)
    return name.translate(_AS_PHP) in _NAMES or _HIDDEN.search(pair) is not None
