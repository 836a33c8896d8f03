"""Which redirect URIs a client may register (RFC 6749 section 3.1.2, RFC 8252 sections 7 and 8, RFC 9700 section 2.1)."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_LONGEST: Final = 2048
# The characters of a URI without a fragment (RFC 3986 section 2). No backslash: browsers treat it as a slash.
_CHARACTERS: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_DOT_SEGMENT: Final = re.compile(r"(?i)(?:^|/)(?:\.|%2e){1,2}(?:/|$)")


def redirect_uri_fault(uri: str) -> str | None:
    """Why `uri` cannot be registered as a redirect URI, or `None`. The text says what would be right and never shows `uri`."""
    if "#" in uri:
        return "must not hold a fragment (RFC 6749 section 3.1.2)"
    if len(uri) > _LONGEST or not _CHARACTERS.fullmatch(uri):
        return "must be a URI of at most 2048 ASCII characters, with anything else percent-encoded"
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018  raises for an invalid port
    except ValueError:
        return "the host or port cannot be read"
    if not parts.scheme:
        return "must be absolute, such as https://app.example.com/callback"
    if parts.username is not None:
        return "must not hold a user name"
    if _DOT_SEGMENT.search(parts.path):
        return "must not hold the path segments . and .., for browsers take them out"
    return _scheme_fault(parts)


def _scheme_fault(parts: SplitResult) -> str | None:
    if parts.scheme in ("http", "https"):
        if not parts.hostname or not _HOST.fullmatch(parts.hostname):
            return "must name one host, exactly: there are no wildcards"
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            return (
                "must be https, or http on 127.0.0.1 or [::1] for an app on the user's machine (RFC 8252 section 7.3)"
            )
        return None
    if "." not in parts.scheme:
        return "must be https, or a scheme of your own with a dot, such as com.example.app:/callback (RFC 8252 section 7.1)"
    return None if parts.netloc or parts.path else "must have something behind the scheme"
