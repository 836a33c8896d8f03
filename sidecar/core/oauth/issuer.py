"""The issuer's URL: where its metadata and its endpoints are found (RFC 8414 sections 2 and 3)."""

import re
from typing import Final
from urllib.parse import urlsplit

# In letters that every server reads alike, without empty and dot segments.
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")


class InvalidIssuer(ValueError):
    """A URL that no metadata can be found by; the text says what is right."""


def issuer_path(issuer: str) -> str | None:
    """The path of an issuer's URL, without a slash at its end: often empty. `None` for an issuer that is no URL, for which
    there is no metadata. Raises `InvalidIssuer`."""
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
