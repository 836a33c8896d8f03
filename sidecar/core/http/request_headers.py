"""The header fields of a request: which are dropped, read, or added.

Rules:
- Order, spelling and bytes of end-to-end fields stay as they were sent (RFC 9110 section 5.3).
- Hop-by-hop fields are not forwarded, and neither are those that `Connection` names (RFC 9110 section 7.6.1), except fields
  that frame the message or say where it goes: naming those is an attack.
- `core.http.fields` says how each field is treated, in any spelling.
- The login cookie (`core.http.cookies`) is not forwarded.
"""

import re
from typing import Final, NamedTuple

from sidecar.core.http.cookies import MARK, without_login
from sidecar.core.http.credentials import bearer_token
from sidecar.core.http.fields import PLAIN_OPTIONS, Kind, Kinds, RawHeaders, is_named, plain_length
from sidecar.core.http.methods import named_methods
from sidecar.core.http.paths import valid_authority
from sidecar.core.reasons import Reason, Refused

# In Python 3.11, each access to a member of an enumeration calls a function: too slow for each field of each request.
_KEEP: Final = Kind.KEEP
_DROP: Final = Kind.DROP
_CONNECTION: Final = Kind.CONNECTION
_TRANSFER_ENCODING: Final = Kind.TRANSFER_ENCODING
_CONTENT_LENGTH: Final = Kind.CONTENT_LENGTH
_HOST: Final = Kind.HOST
_AUTHORIZATION: Final = Kind.AUTHORIZATION
_ACCESS_TOKEN: Final = Kind.ACCESS_TOKEN
_FORWARDED: Final = Kind.FORWARDED
_UPGRADE: Final = Kind.UPGRADE
_CONTENT_TYPE: Final = Kind.CONTENT_TYPE
_CONTENT_ENCODING: Final = Kind.CONTENT_ENCODING
_AMBIGUOUS: Final = Kind.AMBIGUOUS
_COOKIE: Final = Kind.COOKIE
_METHOD: Final = Kind.METHOD
_TE: Final = Kind.TE
_TRAILER: Final = Kind.TRAILER
# Protocols that carry further requests: in a tunnel these would bypass every check (request smuggling over h2c).
_CARRY_REQUESTS: Final = frozenset([b"h2c", b"h2", b"http", b"tls"])
_PROTOCOL: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
NO_METHODS: Final[frozenset[str]] = frozenset()
NO_TRAILERS: Final[frozenset[bytes]] = frozenset()


class RequestHeaders(NamedTuple):
    """The parsed header section of a request.

    `block` are the forwarded fields, serialised, without the token. `framing` is the one of them that frames the body
    (`Content-Length` or `Transfer-Encoding`), and `at` the number of bytes before it. The first `bearer` of the `tokens` came
    as Bearer. `upgrade` is the only protocol to which the connection may switch, or empty. `methods` are the methods that
    override fields may mean. `trailers` are the names of trailer fields that may be forwarded.
    """

    block: bytes
    framing: bytes
    at: int
    host: str
    tokens: tuple[str, ...]
    bearer: int
    forwarded: tuple[tuple[bytes, bytes], ...]
    content_type: str
    content_coded: bool
    expects_continue: bool
    upgrade: bytes
    methods: frozenset[str]
    trailers: frozenset[bytes]

    def resized(self, length: int) -> bytes:
        """`block` for a body of `length` bytes instead."""
        name = self.framing.partition(b":")[0] if self.framing[:1] in b"Cc" else b"Content-Length"
        rest = self.block[self.at + len(self.framing) :]
        return b"%b%b: %d\r\n%b" % (self.block[: self.at], name, length, rest)


def read_request_headers(  # noqa: C901, PLR0912, PLR0915  one look-up and one branch per field: the hot loop
    raw: RawHeaders,
    *,
    kinds: Kinds,
    http_1_0: bool,
    chunked: bool,
    authority: str | None,
    default_host: bytes,
    host: bytes | None = None,
    strip: bool = True,
) -> RequestHeaders:
    """Parse and check the fields of a request.

    `authority` is that of an absolute-form target and replaces `Host` (RFC 9112 section 3.2.2). `default_host` is forwarded
    when an HTTP/1.0 request has no `Host`. `host`, if given, is forwarded instead of any other.

    Raises `Refused`: `MALFORMED_REQUEST` for ambiguous framing or routing, `MULTIPLE_TOKENS` for two `Authorization` fields.
    `strip=False` keeps Bearer and `access_token` fields (a public route).
    """
    lines: list[bytes] = []
    names: list[bytes] = []
    framing, before = b"", 0
    hosts: list[bytes] = []
    bearer: list[str] = []
    others: list[str] = []
    forwarded: list[tuple[bytes, bytes]] = []
    options = overrides = declared = b""
    content_type, content_coded, expects, upgrades, authorizations, te_trailers = "", False, False, b"", 0, False
    for name, value in raw:
        kind = kinds[name]
        if kind is _KEEP:
            pass
        elif kind is _DROP:
            continue
        elif kind is _HOST:
            hosts.append(value)
            if host is not None:
                value = host  # noqa: PLW2901  the field keeps its place
            elif authority is not None:
                value = authority.encode()  # noqa: PLW2901  likewise
        elif kind is _CONTENT_LENGTH:
            framing, before = b"%b: %b\r\n" % (name, plain_length(value)), len(lines)
            continue
        elif kind is _TRANSFER_ENCODING:
            if http_1_0 or not chunked or value.lower() != b"chunked" or framing:
                raise Refused(Reason.MALFORMED_REQUEST, "Transfer-Encoding must be chunked, alone, and over HTTP/1.1.")
            framing, before = b"%b: chunked\r\n" % name, len(lines)
            continue
        elif kind is _AUTHORIZATION:
            if not value:
                continue  # an empty field
            authorizations += 1
            token = bearer_token(value.decode("latin-1"))
            if token is not None:
                bearer.append(token)
                if strip:
                    continue
        elif kind is _ACCESS_TOKEN:
            others.append(value.decode("latin-1"))
            if strip:
                continue
        elif kind is _CONNECTION:
            options += b"," + value
            continue
        elif kind is _FORWARDED:
            forwarded.append((name, value))
            continue
        elif kind is _UPGRADE:
            upgrades += b"," + value
            continue
        elif kind is _CONTENT_TYPE:
            content_type = value.decode("latin-1")
        elif kind is _CONTENT_ENCODING:
            content_coded = True
        elif kind is _COOKIE:
            if MARK in value:
                value = without_login(value)  # noqa: PLW2901  the field keeps its place
                if not value:
                    continue
        elif kind is _METHOD:
            overrides += b"," + value
        elif kind is _TE:
            te_trailers = te_trailers or b"trailers" in (coding.strip(b" \t") for coding in value.lower().split(b","))
            continue
        elif kind is _TRAILER:
            if not chunked:
                continue
            declared += b"," + value
        elif kind is _AMBIGUOUS:
            raise Refused(Reason.MALFORMED_REQUEST, "A header could be taken for Content-Length or Transfer-Encoding.")
        else:
            expects = not http_1_0 and value.lower() == b"100-continue"  # RFC 9110 section 10.1.1
        lines.append(b"%b: %b\r\n" % (name, value))
        names.append(name)
    if authorizations > 1:
        raise Refused(Reason.MULTIPLE_TOKENS, "More than one Authorization header was sent.")
    if options not in PLAIN_OPTIONS:
        kept = [not is_named(name, options) for name in names]
        before = sum(kept[:before])
        lines = [line for line, keep in zip(lines, kept, strict=True) if keep]
    requested_host = _host(hosts, http_1_0=http_1_0)
    if requested_host is None:
        lines.insert(0, b"Host: %b\r\n" % (host or default_host))
        before += 1
    if te_trailers and not upgrades:  # TE is hop-by-hop, so the sidecar sends its own (RFC 9110 section 10.1.4)
        lines.append(b"Connection: TE\r\nTE: trailers\r\n")
    head = b"".join(lines[:before])
    return RequestHeaders(
        b"".join((head, framing, *lines[before:])),
        framing,
        len(head),
        authority or requested_host or default_host.decode(),
        (*bearer, *filter(None, others)),
        len(bearer),
        tuple(forwarded),
        content_type,
        content_coded,
        expects,
        may_switch(upgrades) if upgrades else b"",
        named_methods(overrides) if overrides else NO_METHODS,
        _trailer_names(declared, kinds) if declared else NO_TRAILERS,
    )


def _trailer_names(declared: bytes, kinds: Kinds) -> frozenset[bytes]:
    """The names in `Trailer`, in lower case, that may be forwarded: neither the sidecar nor a proxy interprets them."""
    names = (name.strip(b" \t").lower() for name in declared.split(b","))
    return frozenset(name for name in names if name and kinds[name] is _KEEP)


def may_switch(upgrades: bytes) -> bytes:
    """The protocol of an upgrade, from `Upgrade` values with a comma before each. Empty when there are several, or when it may
    not have a tunnel: such an upgrade is ignored (RFC 9110 section 7.8)."""
    protocol = upgrades[1:].strip(b" \t")
    known = _PROTOCOL.fullmatch(protocol) and protocol.partition(b"/")[0].lower() not in _CARRY_REQUESTS
    return protocol if known else b""


def _host(values: list[bytes], *, http_1_0: bool) -> str | None:
    if not values and http_1_0:
        return None
    host = values[0].decode("latin-1") if len(values) == 1 else ""
    if not valid_authority(host):
        raise Refused(Reason.MALFORMED_REQUEST, "Exactly one Host header with a host and no user is needed.")
    return host
