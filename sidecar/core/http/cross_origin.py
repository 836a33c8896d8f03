"""Which pages may read the responses of the sidecar's endpoints: the CORS protocol (Fetch standard, section 3.2).

Rules:
- Pages of the origins of the https redirect URIs of public clients may read the token and the revocation endpoint, because
  these are the clients' own pages. It makes no difference which client a request is for: its credentials are in the request
  itself and never in a cookie, so `Access-Control-Allow-Credentials` is never sent.
- `http` on loopback is not such an origin: any program on the user's machine may listen there (RFC 8252 section 8.6).
- Pages of any origin may read metadata and keys, which are public and the same for every client (RFC 8414, RFC 7517).
- Errors carry the same fields, so that a page can tell a wrong code from a broken network.
- Pages of other origins get the same response as a client that is not a page. No request is refused for its `Origin`:
  extensions, apps in a web view and pages behind a proxy that adds these fields send one too, and can read the response.
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
# Restricting these fields would protect nothing: clients that are not pages can send any field. `*` does not cover
# Authorization, and older browsers read it as a name (Fetch standard, section 3.2.4).
_ALLOWED: Final = (
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, *"),
    ("Access-Control-Max-Age", "7200"),  # seconds; Chromium caches it no longer
)


def page_origins(clients: Iterable[Client]) -> frozenset[str]:
    """The origins of the pages of public clients that are not disabled."""
    uris = [uri for client in clients if client.public and not client.disabled for uri in client.redirect_uris]
    return frozenset(filter(None, map(origin_of, uris)))


def origin_of(uri: str) -> str | None:
    """The origin of an https redirect URI (`core.oauth.redirect_uris`) as browsers write it (RFC 6454 section 6.2):
    lower case, no default port. `None` for any other scheme, and for an invalid IPv6 address."""
    parts = urlsplit(uri)
    if parts.scheme != "https" or not parts.hostname:
        return None
    host = _ipv6(parts.hostname) if ":" in parts.hostname else parts.hostname
    if host is None:
        return None
    return f"https://{host}" if parts.port in (None, _HTTPS) else f"https://{host}:{parts.port}"


def _ipv6(host: str) -> str | None:
    """The address as the URL standard, section 3.5, serialises it: never with dots, unlike newer versions of Python."""
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return None
    if address.ipv4_mapped is None:
        return f"[{address}]"
    low = int(address.ipv4_mapped)
    return f"[::ffff:{low >> 16:x}:{low & 0xFFFF:x}]"


class Sharing:
    """What pages may read of an endpoint that supports `methods`. `origins`: of these pages, or `None` for all pages."""

    def __init__(self, origins: Container[str] | None, methods: str) -> None:
        self._origins = origins
        self._methods = ("Access-Control-Allow-Methods", methods)

    def fields(self, headers: Sequence[tuple[str, str]]) -> Fields:
        """The fields for every response to a request with these `headers` (names as sent). There are none unless the request
        has exactly one origin, which may read the response."""
        asking = values_of(headers, "origin")
        if len(asking) != 1:
            return ()
        if self._origins is None:
            return (("Access-Control-Allow-Origin", "*"), _EXPOSED)
        if asking[0] not in self._origins:
            return ()
        return (("Access-Control-Allow-Origin", asking[0]), ("Vary", "Origin"), _EXPOSED)

    def preflight(self, method: str, headers: Sequence[tuple[str, str]]) -> Reply | None:
        """The response, without `fields`, to a preflight request; `None` if the request is not one."""
        if method != "OPTIONS" or not values_of(headers, "access-control-request-method") or not self.fields(headers):
            return None
        return Reply(204, (self._methods, *_ALLOWED), b"")
