"""The header section of an upstream's response: what is forwarded, and how the body is framed."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sidecar.core.http.fields import PLAIN_OPTIONS, Kind, is_named, plain_length, response_kinds

# In Python 3.11, each access to a member of an enumeration calls a function: too slow for each field of each request.
_EVENTS: Final = b"text/event-stream"
_KEEP: Final = Kind.KEEP
_CONNECTION: Final = Kind.CONNECTION
_TRANSFER_ENCODING: Final = Kind.TRANSFER_ENCODING
_CONTENT_LENGTH: Final = Kind.CONTENT_LENGTH
_UPGRADE: Final = Kind.UPGRADE
_DATE: Final = Kind.DATE
_KEEP_ALIVE: Final = Kind.KEEP_ALIVE
_TIMEOUT: Final = re.compile(rb"(?:\A|[,; \t])timeout=\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)


class ResponseHeaders(NamedTuple):
    """The header section of an upstream's response: the forwarded fields, serialised in `pieces`, and the framing of the body.
    `dated`: it has a `Date`. `keep_alive`: the value of its `Keep-Alive`, or empty."""

    pieces: list[bytes]
    length: int | None
    chunked: bool
    upgrade: bytes
    dated: bool = False
    keep_alive: bytes = b""


class InvalidResponse(ValueError):
    """The upstream's response must not be forwarded."""


def read_response_headers(raw: Iterable[tuple[bytes, bytes]]) -> ResponseHeaders:
    """Parse the fields of a response. Raises `InvalidResponse` when the framing cannot be trusted."""
    pieces: list[bytes] = []
    length: int | None = None
    chunked = dated = False
    options = b""
    ended: dict[Kind, bytes] = {}  # hop-by-hop fields and others that are not forwarded
    memo = response_kinds
    for name, given in raw:
        kind = memo[name]
        value = given.strip(b" \t")  # surrounding white space is not part of the value (RFC 9112 section 5)
        if kind is _KEEP:
            pass
        elif kind is _CONTENT_LENGTH:
            if length is not None or not value.isdigit():
                raise InvalidResponse(f"Content-Length {'twice' if value.isdigit() else 'is no number'}")
            value = plain_length(value)
            length = int(value)
        elif kind is _TRANSFER_ENCODING:
            if (
                chunked or value.lower() != b"chunked" or b"\t" in given
            ):  # with a tab, the parser does not recognise chunked
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
        pieces = [piece for field in fields if not is_named(field[0], options) for piece in field]
    return ResponseHeaders(pieces, length, chunked, ended.get(_UPGRADE, b""), dated, ended.get(_KEEP_ALIVE, b""))


def is_event_stream(headers: ResponseHeaders) -> bool:
    """Whether the response is a stream of server-sent events, which has no planned end."""
    fields = zip(headers.pieces[::4], headers.pieces[2::4], strict=False)  # whole lines may follow the fields
    return any(name.lower() == b"content-type" and value.lower().startswith(_EVENTS) for name, value in fields)


def keep_alive_timeout(value: bytes) -> float | None:
    """The seconds for which a server keeps an idle connection, according to its `Keep-Alive` field (RFC 2068 section
    19.7.1.1), or `None`."""
    found = _TIMEOUT.search(value)
    return float(found[1]) if found else None


def trailer_pieces(raw: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The trailer fields of a response that are forwarded, serialised. Those for framing or control are not (RFC 9110 section
    6.5.1)."""
    kept = [(name, value.strip(b" \t")) for name, value in raw if response_kinds[name] is Kind.KEEP]
    return [piece for name, value in kept for piece in (name, b": ", value, b"\r\n")]
