"""The login cookie and that of the console: their names, and how they are removed from requests to the API.

Rules:
- Whoever has the cookie can act as the user, so only the sidecar's own pages see it. A browser sends the cookie of the console
  to the public listener too when both have the same host name: cookies do not know ports.
- A cookie counts as the login cookie when any server would read its name as such: with white space or quotes around it, or as
  PHP reads names (`.` and space become `_`, `[` ends the name). So does a cookie that contains it: some servers also separate
  cookies at a comma or at white space.
- Every other cookie keeps its bytes and its place.
"""

import re
from typing import Final

LOGIN: Final = "sidecar"
SECURE_LOGIN: Final = "__Host-sidecar"  # over TLS
CONSOLE: Final = "sidecar-console"
SECURE_CONSOLE: Final = "__Host-sidecar-console"  # over TLS
LOGIN_VALUE: Final = "[A-Za-z0-9_-]{43}"
"""The expression for the value of each of these cookies: 256 bits in base64url."""

MARK: Final = LOGIN.encode()
"""Every `Cookie` field that `without_login` would change contains this."""

_NAMES: Final = frozenset(name.encode() for name in (LOGIN, SECURE_LOGIN, CONSOLE, SECURE_CONSOLE))
_AROUND: Final = b'\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f "\x85\xa0'  # quotes, and what `str.strip` removes
_AS_PHP: Final = bytes.maketrans(b". ", b"__")
_HIDDEN: Final = re.compile(
    rb"(?<![!#$%&'*+.^_`|~0-9A-Za-z-])(?:__Host-)?sidecar(?:-console)?[\s\"]*=[\s\"]*"
    + LOGIN_VALUE.encode()
    + rb"(?![A-Za-z0-9_-])"
)


def without_login(cookies: bytes) -> bytes:
    """The value of a `Cookie` field without these cookies; empty if there is no other cookie."""
    pairs = cookies.split(b";")
    kept = [pair for pair in pairs if MARK not in pair or not _is_login(pair)]
    if len(kept) == len(pairs):
        return cookies
    rest = b";".join(kept).strip(b" \t")
    return rest if rest.strip(b"; \t") else b""


def _is_login(pair: bytes) -> bool:
    name = pair.partition(b"=")[0].partition(b"[")[0].strip(_AROUND)
    return name.translate(_AS_PHP) in _NAMES or _HIDDEN.search(pair) is not None
