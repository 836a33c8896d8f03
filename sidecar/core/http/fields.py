"""How each header field is treated: kept, dropped, or read.

Servers that turn header fields into variables (CGI, WSGI, PHP) replace everything but letters and digits with the same
character. Names are therefore compared after folding these characters. A field that could be mistaken for one of the sidecar's
is dropped in every spelling. A field that could be mistaken for a framing field is refused. A field that proxies set
(`core.http.proxy_headers`) is forwarded in its own spelling when a trusted proxy sent it.
"""

import re
from collections.abc import Callable, Iterable, Set
from enum import IntEnum
from functools import partial
from typing import Final

from sidecar.core.http.methods import OVERRIDES
from sidecar.core.http.proxy_headers import PREFIX, PROXY_HEADERS

RawHeaders = Iterable[tuple[bytes, bytes]]


class Kind(IntEnum):
    """How a field is treated."""

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
_MEMO_LIMIT: Final = 1024
_FOLD: Final = bytes(byte if chr(byte).isascii() and chr(byte).isalnum() else ord("-") for byte in range(256))
_RESERVED: Final = frozenset(
    name.translate(_FOLD) for name in (*_REQUEST_KINDS, *_RESPONSE_KINDS, *_NEVER_NAMED - PROXY_HEADERS, *OVERRIDES)
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Kinds(dict[bytes, Kind]):
    """A cache by exact spelling, so that a known name costs one look-up. It is bounded, because the peer chooses the names."""

    def __init__(self, classify: Callable[[bytes], Kind]) -> None:
        super().__init__()
        self._classify = classify

    def __missing__(self, name: bytes) -> Kind:
        kind = self._classify(name)
        if len(self) < _MEMO_LIMIT:
            self[name] = kind
        return kind


def request_kinds(proxy_headers: Iterable[str] = ()) -> Kinds:
    """How each field of a request is treated. `proxy_headers` are more names that only a trusted proxy may set."""
    proper = PROXY_HEADERS.union(name.lower().encode() for name in proxy_headers)
    return Kinds(partial(_request_kind, proper=proper, folded_proper={name.translate(_FOLD) for name in proper}))


def proxy_header_fault(name: str) -> str | None:
    """Why `name` cannot be one of the `proxy_headers`, or `None`."""
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


response_kinds = Kinds(_response_kind)


def response_kind(name: bytes) -> Kind:
    """How a field of a response is treated."""
    return response_kinds[name]


def plain_length(digits: bytes) -> bytes:
    """A `Content-Length` without leading zeros: some parsers read these as octal, and Python counts them against its limit."""
    return digits.lstrip(b"0") or b"0"


def is_named(name: bytes, options: bytes) -> bool:
    """Whether the `options` of `Connection` make the field `name` hop-by-hop (RFC 9110 section 7.6.1). Fields that frame a
    message, or say where it goes or who sent it, are never hop-by-hop by this."""
    lowered = name.lower()
    return lowered not in _NEVER_NAMED and lowered in [option.strip(b" \t") for option in options.lower().split(b",")]
