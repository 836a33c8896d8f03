"""Header fields on their way through: what is dropped, what is read, what is added.

Rules:
- Order, spelling and bytes of end-to-end fields stay as they were sent (RFC 9110 section 5.3).
- Hop-by-hop fields end here, and those that `Connection` names (RFC 9110 section 7.6.1), except the ones that frame the
  message or say where it goes: naming those is an attack.
- Servers that turn headers into variables (CGI, WSGI, PHP) make one character of all that are no letter or digit, so names
  are compared with all of them folded. A field that could be taken for one of ours is gone in every spelling. One that could
  be taken for a framing field is refused.
- What a proxy tells of a request (`core.http.proxy_headers`) goes on when a trusted one sent it, in its own spelling.
- The cookie of a login (`core.http.cookies`) ends here.
"""

import re
from collections.abc import Callable, Iterable, Set
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple

from sidecar.core.http.cookies import MARK, without_login
from sidecar.core.http.credentials import bearer_token
from sidecar.core.http.methods import OVERRIDES, named_methods
from sidecar.core.http.paths import valid_authority
from sidecar.core.http.proxy_headers import PREFIX, PROXY_HEADERS
from sidecar.core.reasons import Reason, Refused

RawHeaders = Iterable[tuple[bytes, bytes]]


class Kind(IntEnum):
    """What a field is to us."""

    KEEP = 0
    DROP = 1
    CONNECTION = 2
    TRANSFER_ENCODING = 3
    CONTENT_LENGTH = 4
    HOST = 5
    AUTHORIZATION = 6
    ACCESS_TOKEN = 7
    FORWARDED = 8
    EXPECT = 9
    UPGRADE = 10
    CONTENT_TYPE = 11
    CONTENT_ENCODING = 12
    AMBIGUOUS = 13
    COOKIE = 14
    METHOD = 15
    DATE = 16
    KEEP_ALIVE = 17
    TE = 18
    TRAILER = 19


# In Python 3.11 a member of an enumeration is looked up by a function, each time: too dear for each field of each request.
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
_DATE: Final = Kind.DATE
_KEEP_ALIVE: Final = Kind.KEEP_ALIVE
_TE: Final = Kind.TE
_TRAILER: Final = Kind.TRAILER
_REQUEST_KINDS: Final = {
    b"connection": Kind.CONNECTION,
    b"keep-alive": Kind.DROP,
    b"proxy-connection": Kind.DROP,
    b"proxy-authorization": Kind.DROP,
    b"te": Kind.TE,
    b"trailer": Kind.TRAILER,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"upgrade": Kind.UPGRADE,
    b"content-length": Kind.CONTENT_LENGTH,
    b"content-type": Kind.CONTENT_TYPE,
    b"content-encoding": Kind.CONTENT_ENCODING,
    b"host": Kind.HOST,
    b"authorization": Kind.AUTHORIZATION,
    b"access_token": Kind.ACCESS_TOKEN,
    b"expect": Kind.EXPECT,
    b"cookie": Kind.COOKIE,
}
_OURS: Final = frozenset([b"x-auth-client-id", b"x-auth-subject", b"x-auth-scope", b"x-auth-roles"])
_CONTINUED: Final = frozenset([b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"])
_FRAMING: Final = frozenset([b"content-length", b"transfer-encoding"])
# Protocols that carry further requests: through a tunnel they would pass by every check (request smuggling by h2c).
_CARRY_REQUESTS: Final = frozenset([b"h2c", b"h2", b"http", b"tls"])
_PROTOCOL: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
_RESPONSE_KINDS: Final = {
    b"connection": Kind.CONNECTION,
    b"keep-alive": Kind.KEEP_ALIVE,
    b"proxy-connection": Kind.DROP,
    b"te": Kind.DROP,
    b"upgrade": Kind.UPGRADE,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"content-length": Kind.CONTENT_LENGTH,
    b"date": Kind.DATE,
}
_NEVER_NAMED: Final = frozenset(
    b"host content-length transfer-encoding content-type content-encoding content-range".split()
    + b"authorization cookie set-cookie access_token x-forwarded-client-cert".split()
) | (_OURS | _CONTINUED | PROXY_HEADERS)
PLAIN_OPTIONS: Final = frozenset([b"", b",keep-alive", b",Keep-Alive", b",close"])
# An address of either kind, the second in brackets or not; some proxies add the port.
_ADDRESS: Final = re.compile(
    r"([0-9.]{7,15})(?::[0-9]{1,5})?|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)
_TIMEOUT: Final = re.compile(rb"(?:\A|[,; \t])timeout=\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_MEMO_LIMIT: Final = 1024
_NO_METHODS: Final[frozenset[str]] = frozenset()
NO_TRAILERS: Final[frozenset[bytes]] = frozenset()
_FOLD: Final = bytes(byte if chr(byte).isascii() and chr(byte).isalnum() else ord("-") for byte in range(256))
_RESERVED: Final = frozenset(
    name.translate(_FOLD) for name in (*_REQUEST_KINDS, *_RESPONSE_KINDS, *_NEVER_NAMED - PROXY_HEADERS, *OVERRIDES)
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Kinds(dict[bytes, Kind]):
    """Names as they are spelled, so that a known one costs one look-up; bounded, for names are the peer's choice."""

    def __init__(self, classify: Callable[[bytes], Kind]) -> None:
        super().__init__()
        self._classify = classify

    def __missing__(self, name: bytes) -> Kind:
        kind = self._classify(name)
        if len(self) < _MEMO_LIMIT:
            self[name] = kind
        return kind


def request_kinds(proxy_headers: Iterable[str] = ()) -> Kinds:
    """What each field of a request is to us. `proxy_headers` are further names that a trusted proxy alone may set."""
    proper = PROXY_HEADERS.union(name.lower().encode() for name in proxy_headers)
    return Kinds(partial(_request_kind, proper=proper, folded_proper={name.translate(_FOLD) for name in proper}))


def proxy_header_fault(name: str) -> str | None:
    """Why this cannot be one of the `proxy_headers`, or `None`."""
    if not _TOKEN.fullmatch(name):
        return "write the name of a header, such as X-My-Edge"
    if name.lower().encode().translate(_FOLD) in _RESERVED:
        return "leave this name out: the sidecar reads or sets this header itself, whoever sends it"
    return None


def _request_kind(name: bytes, *, proper: Set[bytes], folded_proper: Set[bytes]) -> Kind:
    lowered = name.lower()
    folded = lowered.translate(_FOLD)
    if lowered in _REQUEST_KINDS:
        return _REQUEST_KINDS[lowered]
    if folded in _OURS:
        return Kind.DROP
    if folded in _FRAMING:
        return Kind.AMBIGUOUS
    if folded in OVERRIDES:
        return Kind.METHOD
    if lowered in proper or (lowered == folded and lowered.startswith(PREFIX)):
        return Kind.FORWARDED
    return Kind.DROP if folded in folded_proper or folded.startswith(PREFIX) else Kind.KEEP


def _response_kind(name: bytes) -> Kind:
    return _RESPONSE_KINDS.get(name.lower(), Kind.KEEP)


_response_kinds = Kinds(_response_kind)


def response_kind(name: bytes) -> Kind:
    """What a field of a response is to us."""
    return _response_kinds[name]


def _plain_length(digits: bytes) -> bytes:
    """A `Content-Length` without zeros before it, which some readers take for octal, and Python counts against its limit."""
    return digits.lstrip(b"0") or b"0"


class RequestHeaders(NamedTuple):
    """The header section of a request, read once.

    `lines` are the fields that go on, serialised, without the token and without the framing field (`Content-Length` or
    `Transfer-Encoding`), which stands apart: `before` says how many of `lines` precede it, so that it goes back there.
    `block` is all of it joined. The first `bearer` of `tokens` came as Bearer. `upgrade` is the one protocol that may be
    switched to, or empty. `methods` are those that override fields may mean. `trailers` are the names of the fields that may
    follow the body.
    """

    lines: tuple[bytes, ...]
    framing: bytes
    before: int
    host: str
    tokens: tuple[str, ...]
    bearer: int
    forwarded: tuple[tuple[bytes, bytes], ...]
    content_type: str
    content_coded: bool
    expects_continue: bool
    upgrade: bytes
    methods: frozenset[str]
    block: bytes
    trailers: frozenset[bytes]

    def resized(self, length: int) -> bytes:
        """`block` for a body of another length, in bytes."""
        name = self.framing.partition(b":")[0] if self.framing[:1] in b"Cc" else b"Content-Length"
        return b"".join([*self.lines[: self.before], b"%b: %d\r\n" % (name, length), *self.lines[self.before :]])


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
    """Read and check a request's fields.

    `authority` is that of an absolute-form target and takes the place of `Host` (RFC 9112 section 3.2.2); `default_host`
    goes on when an HTTP/1.0 request has none. `host` goes on instead of any.

    Raises `Refused`: `MALFORMED_REQUEST` for what frames or routes ambiguously, `MULTIPLE_TOKENS` for two
    `Authorization` fields. `strip=False` leaves Bearer and `access_token` fields in (a public route).
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
                value = authority.encode()  # noqa: PLW2901
        elif kind is _CONTENT_LENGTH:
            framing, before = b"%b: %b\r\n" % (name, _plain_length(value)), len(lines)
            continue
        elif kind is _TRANSFER_ENCODING:
            if http_1_0 or not chunked or value.lower() != b"chunked" or framing:
                raise Refused(Reason.MALFORMED_REQUEST, "Transfer-Encoding must be chunked, alone, and over HTTP/1.1.")
            framing, before = b"%b: chunked\r\n" % name, len(lines)
            continue
        elif kind is _AUTHORIZATION:
            if not value:
                continue  # it says nothing
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
        kept = [not _named(name, options) for name in names]
        before = sum(kept[:before])
        lines = [line for line, keep in zip(lines, kept, strict=True) if keep]
    asked = _host(hosts, http_1_0=http_1_0)
    if asked is None:
        lines.insert(0, b"Host: %b\r\n" % (host or default_host))
        before += 1
    if te_trailers and not upgrades:  # the connection that goes on is ours (RFC 9110 section 10.1.4)
        lines.append(b"Connection: TE\r\nTE: trailers\r\n")
    ordered = (*lines[:before], framing, *lines[before:]) if framing else lines
    return RequestHeaders(
        tuple(lines),
        framing,
        before,
        authority or asked or default_host.decode(),
        (*bearer, *filter(None, others)),
        len(bearer),
        tuple(forwarded),
        content_type,
        content_coded,
        expects,
        may_switch(upgrades) if upgrades else b"",
        named_methods(overrides) if overrides else _NO_METHODS,
        b"".join(ordered),
        _trailer_names(declared, kinds) if declared else NO_TRAILERS,
    )


def _trailer_names(declared: bytes, kinds: Kinds) -> frozenset[bytes]:
    """Of the names in `Trailer` those, in lower case, that may go on: they mean nothing to us nor to a proxy."""
    names = (name.strip(b" \t").lower() for name in declared.split(b","))
    return frozenset(name for name in names if name and kinds[name] is _KEEP)


def may_switch(upgrades: bytes) -> bytes:
    """The one protocol that is asked for, of `Upgrade` values, each with a comma before it; empty when there are several, or
    none that may have a tunnel: such an upgrade is ignored (RFC 9110 section 7.8)."""
    protocol = upgrades[1:].strip(b" \t")
    known = _PROTOCOL.fullmatch(protocol) and protocol.partition(b"/")[0].lower() not in _CARRY_REQUESTS
    return protocol if known else b""


def _named(name: bytes, options: bytes) -> bool:
    lowered = name.lower()
    return lowered not in _NEVER_NAMED and lowered in [option.strip(b" \t") for option in options.lower().split(b",")]


def _host(values: list[bytes], *, http_1_0: bool) -> str | None:
    if not values and http_1_0:
        return None
    host = values[0].decode("latin-1") if len(values) == 1 else ""
    if not valid_authority(host):
        raise Refused(Reason.MALFORMED_REQUEST, "Exactly one Host header with a host and no user is needed.")
    return host


class ResponseHeaders(NamedTuple):
    """The header section of an upstream's response: the fields that go on, serialised in `pieces`, and how the body is
    framed. `dated`: it says when it was made. `keep_alive`: what it says about its connection, or empty."""

    pieces: list[bytes]
    length: int | None
    chunked: bool
    upgrade: bytes
    dated: bool = False
    keep_alive: bytes = b""


class InvalidResponse(ValueError):
    """The upstream's response is not one that may be passed on."""


def read_response_headers(raw: Iterable[tuple[bytes, bytes]]) -> ResponseHeaders:
    """Read a response's fields. Raises `InvalidResponse` when the framing cannot be trusted."""
    pieces: list[bytes] = []
    length: int | None = None
    chunked = dated = False
    options = b""
    ended: dict[Kind, bytes] = {}  # what ends here
    memo = _response_kinds
    for name, given in raw:
        kind = memo[name]
        value = given.strip(b" \t")  # white space is no part of it (RFC 9112 section 5)
        if kind is _KEEP:
            pass
        elif kind is _CONTENT_LENGTH:
            if length is not None or not value.isdigit():
                raise InvalidResponse(f"Content-Length {'twice' if value.isdigit() else 'is no number'}")
            value = _plain_length(value)
            length = int(value)
        elif kind is _TRANSFER_ENCODING:
            if (
                chunked or value.lower() != b"chunked" or b"\t" in given
            ):  # with a tab the parser does not take it for chunked
                raise InvalidResponse("Transfer-Encoding twice, or not just chunked")
            chunked = True
            continue
        elif kind is _CONNECTION:
            options += b"," + value
            continue
        elif kind is _DATE:
            dated = True
        else:
            ended[kind] = value
            continue
        pieces += (name, b": ", value, b"\r\n")
    if chunked and length is not None:
        raise InvalidResponse("Content-Length with Transfer-Encoding")
    if options not in PLAIN_OPTIONS:
        fields = [pieces[start : start + 4] for start in range(0, len(pieces), 4)]
        pieces = [piece for field in fields if not _named(field[0], options) for piece in field]
    return ResponseHeaders(pieces, length, chunked, ended.get(_UPGRADE, b""), dated, ended.get(_KEEP_ALIVE, b""))


def keep_alive_timeout(value: bytes) -> float | None:
    """For how many seconds a server keeps a connection on which nothing is said, as its `Keep-Alive` field tells (RFC 2068
    section 19.7.1.1), or `None`."""
    found = _TIMEOUT.search(value)
    return float(found[1]) if found else None


def trailer_pieces(raw: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The fields after a response's body that go on, serialised; none that frame or control (RFC 9110 section 6.5.1)."""
    kept = [(name, value.strip(b" \t")) for name, value in raw if _response_kinds[name] is Kind.KEEP]
    return [piece for name, value in kept for piece in (name, b": ", value, b"\r\n")]


def forwarded_block(
    inbound: Iterable[tuple[bytes, bytes]],
    *,
    trusted: bool,
    peer: str,
    scheme: str,
    host: str,
    certificate: bytes = b"",
) -> bytes:
    """`X-Forwarded-For`, `-Proto` and `-Host`, and `-Client-Cert` when there was a `certificate`. What came in, of these and
    of all that proxies set, counts only when the peer is a trusted one."""
    values: dict[bytes, list[bytes]] = {}
    extra = b""
    for name, value in inbound if trusted else ():
        lowered = name.lower()
        if lowered in _CONTINUED:
            values.setdefault(lowered, []).append(value)
        elif lowered != b"x-forwarded-client-cert" or not certificate:
            extra += b"%b: %b\r\n" % (name, value)
    chain = b", ".join([*values.get(b"x-forwarded-for", ()), peer.encode("latin-1")])
    proto = values.get(b"x-forwarded-proto", [scheme.encode()])[0]
    name = values.get(b"x-forwarded-host", [host.encode("latin-1")])[0]
    if certificate:
        extra += b"X-Forwarded-Client-Cert: %b\r\n" % certificate
    return extra + b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (chain, proto, name)


def client_address(inbound: Iterable[tuple[bytes, bytes]], *, peer: str, trusts: Callable[[str], bool]) -> str:
    """Who sent the request to the first proxy that is not trusted, which is the peer when that is not trusted.

    `X-Forwarded-For` is read from its end, where each trusted proxy put whom it had before it: what stands further left is
    anybody's invention. An entry that is no address ends the search.
    """
    chain = b",".join(value for name, value in inbound if name.lower() == b"x-forwarded-for").decode("latin-1")
    found = peer
    for entry in reversed(chain.split(",")):
        if not trusts(found):
            return found
        match = _ADDRESS.fullmatch(entry.strip(" \t"))
        if match is None:
            return found
        found = match[1] or match[2] or match[3]
    return found


def identity_block(client_id: str, subject: str, scope: Iterable[str], roles: Iterable[str]) -> bytes:
    """The fields that tell the upstream who called. The values hold no control characters: tokens are checked."""
    fields = {
        "X-Auth-Client-Id": client_id,
        "X-Auth-Subject": subject,
        "X-Auth-Scope": " ".join(scope),
        "X-Auth-Roles": ",".join(roles),
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("latin-1")
