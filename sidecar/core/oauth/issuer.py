"""The issuer's URL, from which the URLs of metadata and endpoints are derived (RFC 8414 sections 2 and 3)."""

import re
from typing import Final
from urllib.parse import urlsplit

# Only characters that every server reads alike; no empty segments and no dot segments.
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")


class InvalidIssuer(ValueError):
    """A URL from which no metadata URL can be derived. The message says what would be right."""


def issuer_path(issuer: str) -> str | None:
    """The path of an issuer's URL without a trailing slash; it is often empty. `None` for an issuer that is not a URL, which
    has no metadata. Raises `InvalidIssuer`."""
    if not re.match(r"https?:", issuer, re.IGNORECASE):
        return None
    try:
        parts = urlsplit(issuer)
        usable = issuer.startswith(("http://", "https://")) and bool(parts.hostname) and parts.username is None
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "?" in issuer or "#" in issuer:
        raise InvalidIssuer("write a URL of scheme, host, port and path alone (RFC 8414 section 2)")
    path = parts.path.removesuffix("/")
    if not _PATH.fullmatch(path):
        raise InvalidIssuer("the path may hold letters, digits and . _ ~ - only, without empty or dot segments")
    return path
