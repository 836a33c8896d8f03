"""Which pages may read what our endpoints answer: the CORS protocol (Fetch standard, section 3.2).

Rules:
- The token and the revocation endpoint are read by pages of the origins where public clients have their https redirect URIs:
  there the client's own pages are. Which client a request is for makes no difference: what it proves stands in the request
  itself and never in a cookie, so `Access-Control-Allow-Credentials` is never said.
- `http` on loopback is no such origin: any program on the user's machine may listen there (RFC 8252 section 8.6).
- Metadata and keys are read by pages of any origin: they are public, and the same for everybody (RFC 8414, RFC 7517).
- Errors carry the same fields, so that a page can tell a wrong code from a broken network.
- A page of any other origin is answered as if it were no page. Nothing is refused for its `Origin`: extensions, apps in a web
  view and pages behind a proxy that adds these fields send one, too, and are able to read the answer.
"""

import ipaddress
from collections.abc import Container, Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from sidecar.core.oauth.clients import Client
from sidecar.core.replies import Reply, values_of

Fields = tuple[tuple[str, str], ...]

_HTTPS: Final = 443
_EXPOSED: Final = ("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate")
# Which fields a page adds decides nothing here: who is no page adds any. `*` does not stand for Authorization, and older
# browsers take it for a name (Fetch standard, section 3.2.4).
_ALLOWED: Final = (
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, *"),
    ("Access-Control-Max-Age", "7200"),  # seconds; Chromium keeps it no longer
)


def page_origins(clients: Iterable[Client]) -> frozenset[str]:
    """The origins of the pages of public clients, but for disabled ones."""
    uris = [uri for client in clients if client.public and not client.disabled for uri in client.redirect_uris]
    return frozenset(filter(None, map(origin_of, uris)))


def origin_of(uri: str) -> str | None:
    """The origin of an https redirect URI (`core.oauth.redirect_uris`) as browsers write it (RFC 6454 section 6.2):
    small letters, no default port. `None` for any other scheme, and for an address that is none."""
    parts = urlsplit(uri)
    if parts.scheme != "https" or not parts.hostname:
        return None
    host = _ipv6(parts.hostname) if ":" in parts.hostname else parts.hostname
    if host is None:
        return None
    return f"https://{host}" if parts.port in (None, _HTTPS) else f"https://{host}:{parts.port}"


def _ipv6(host: str) -> str | None:
    """As the URL standard, section 3.5, writes it: never with dots, which newer versions of Python have."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return None
    if address.ipv4_mapped is None:
        return f"[{address}]"
    low = int(address.ipv4_mapped)
    return f"[::ffff:{low >> 16:x}:{low & 0xFFFF:x}]"


class Sharing:
    """What pages may read of an endpoint that answers `methods`. `origins`: theirs, or `None` for every page."""

    def __init__(self, origins: Container[str] | None, methods: str) -> None:
        self._origins = origins
        self._methods = ("Access-Control-Allow-Methods", methods)

    def fields(self, headers: Sequence[tuple[str, str]]) -> Fields:
        """What every answer to a request with these headers, names as sent, is to carry: nothing unless one origin asked, and
        it may read the answer."""
        asking = values_of(headers, "origin")
        if len(asking) != 1:
            return ()
        if self._origins is None:
            return (("Access-Control-Allow-Origin", "*"), _EXPOSED)
        if asking[0] not in self._origins:
            return ()
        return (("Access-Control-Allow-Origin", asking[0]), ("Vary", "Origin"), _EXPOSED)

    def preflight(self, method: str, headers: Sequence[tuple[str, str]]) -> Reply | None:
        """The answer, without `fields`, to a browser that asks what a page may send; `None` when that is not the question."""
        asked = values_of(headers, "access-control-request-method")
        if method != "OPTIONS" or not asked or not self.fields(headers):
            return None
        return Reply(204, (self._methods, *_ALLOWED), b"")
