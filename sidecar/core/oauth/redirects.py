"""Where the response to an authorization request goes.

The redirect URI of a request must equal a registered one (`core.oauth.redirect_uris`), character by character (RFC 9700 section
2.1). The only exception is the port of `http://127.0.0.1` and `http://[::1]`, which a native app learns when it starts (RFC
8252 section 7.3).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]{1,2048}")  # RFC 3986 appendix A, without "#"
_LOOPBACK: Final = re.compile(r"http://(?P<host>127\.0\.0\.1|\[::1\])(?P<port>:[0-9]{1,5})?(?P<rest>[/?].*|)")


def registered(requested: str, uris: Iterable[str]) -> bool:
    """Whether a request may contain the redirect URI `requested`, given the registered `uris`."""
    loopback = _port_apart(requested)
    return any(requested == uri or (loopback is not None and loopback == _port_apart(uri)) for uri in uris)


def assures_identity(uri: str) -> bool:
    """Whether only the client can receive what is sent to `uri`. Any app can listen on loopback, or register a private-use
    scheme (RFC 8252 section 8.6)."""
    return uri.startswith("https://")


def source_of(uri: str) -> str:
    """The source expression that allows `uri` in a Content-Security-Policy: its origin. For an IPv6 address or a private-use
    scheme, only the scheme can be expressed."""
    parts = urlsplit(uri)
    with_origin = parts.scheme in ("https", "http") and "[" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}" if with_origin else f"{parts.scheme}:"


def with_query(uri: str, parameters: Mapping[str, str]) -> str:
    """`uri` with `parameters` appended to its query, which is otherwise unchanged (RFC 6749 section 4.1.2)."""
    joint = "" if uri.endswith(("?", "&")) else "&" if "?" in uri else "?"
    return uri + joint + _encoded(parameters)


def with_fragment(uri: str, parameters: Mapping[str, str]) -> str:
    """`uri` with `parameters` in a fragment, which a browser does not send to a server (RFC 6749 section 4.2.2)."""
    return f"{uri}#{_encoded(parameters)}"


def _port_apart(uri: str) -> tuple[str, str] | None:
    """The host and the rest, without the port, of a loopback URI; `None` for another URI or an invalid port."""
    match = _LOOPBACK.fullmatch(uri)
    if match is None or not _URI.fullmatch(uri) or (match["port"] and not 0 < int(match["port"][1:]) <= 65535):
        return None
    return match["host"], match["rest"]


def _encoded(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
