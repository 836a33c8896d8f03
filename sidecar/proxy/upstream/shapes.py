"""Responses that arrive in one read, with a head that differs from an earlier one only in values.

An API server repeats its heads: the same status line and the same fields in the same order; only their values change. The
parser has already interpreted such a head once. A *shape* describes all heads like it as one strict expression: the same
status line and field names, values that cannot be read in two ways, and a length that the rest of the read has exactly. A
response that matches a shape is forwarded as the bytes it arrived as, without the fields that end at the sidecar; every other
response goes to the parser. `tests/unit/proxy/upstream/test_shapes.py` compares the two paths.
"""

import re
from typing import Final

from sidecar.core.http.fields import PLAIN_OPTIONS, Kind, response_kind
from sidecar.core.http.response_headers import keep_alive_timeout
from sidecar.proxy.ports import WholeResponse
from sidecar.proxy.wire import date_line

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t -~\x80-\xff]*")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)")
_VALUE: Final = rb"[!-~\x80-\xff][\t -~\x80-\xff]*+(?<![\t ])"
_LENGTH: Final = rb"(0|[1-9][0-9]{0,14})"
_BODYLESS: Final = (b"204", b"304")
# In `Keep-Alive`: the number of requests left differs between responses, and the sidecar does not use it.
_REQUESTS_LEFT: Final = re.compile(rb"max=[0-9]{1,9}")
_MOST_FIELDS: Final = 100
_MOST_SHAPES: Final = 4  # tried one after the other
_CREDIT: Final = 64  # learning costs 8, a match earns 1: without recurring shapes, learning stops
_PRICE: Final = 8
_MARGIN: Final = 1.0  # seconds before an upstream closes an idle connection, which would lose a request in transit


class _Shape:
    __slots__ = ("_body", "_head", "_last", "dated", "keep_alive", "kept", "length", "match", "pattern", "status")

    def __init__(
        self, status: int, pattern: bytes, kept: tuple[int, ...], length: int, *, dated: bool, keep_alive: bytes
    ) -> None:
        self._last = b"\r\n\r\n"  # the last head that matched; no response begins with this value
        self._head = b""  # the part of it that is forwarded
        self._body = -1  # the length that it announced; no body has this length
        self.status = status
        self.pattern = pattern
        self.match = re.compile(pattern).match
        self.kept = kept  # the groups that are forwarded
        self.length = length  # the group with the length
        self.dated = dated  # it has a `Date` field
        self.keep_alive = keep_alive  # its `Keep-Alive` value

    def read(self, data: bytes) -> WholeResponse | None:
        if not data.startswith(self._last):
            match = self.match(data)
            if match is None:
                return None
            self._last, self._body = match[0], int(match[self.length])
            self._head = match[1] if len(self.kept) == 1 else b"".join(match.group(*self.kept))
        end = len(self._last)
        if len(data) - end != self._body:
            return None
        return (self.status, self._head if self.dated else self._head + date_line(), data[end:])


class ResponseShapes:
    """The most recent shapes of an upstream's responses, except responses to HEAD, on connections that stay open. `idle_for`:
    for how many seconds the connection of the last response may be kept, at most `idle`."""

    def __init__(self, idle: float) -> None:
        self._idle = self.idle_for = idle
        self._shapes: list[tuple[_Shape, float]] = []  # each with its `idle_for`
        self._credit = _CREDIT

    def __repr__(self) -> str:
        return f"<ResponseShapes {len(self._shapes)}>"

    def read(self, data: bytes) -> WholeResponse | None:
        """Parse `data` as a whole response; `None` unless it has a known shape and nothing precedes or follows it."""
        for shape, idle_for in self._shapes:
            whole = shape.read(data)
            if whole is not None:
                self.idle_for = idle_for
                if self._credit < _CREDIT:
                    self._credit += 1
                return whole
        return None

    def learn(self, data: bytes) -> None:
        """Remember the shape of a response that the parser found to be complete and to leave its connection open."""
        if self._credit < _PRICE:
            return
        self._credit -= _PRICE
        shape = _shape(data)
        if shape is not None and all(known.pattern != shape.pattern for known, _ in self._shapes):
            self._shapes = [(shape, self.kept_for(shape.keep_alive)), *self._shapes[: _MOST_SHAPES - 1]]

    def kept_for(self, keep_alive: bytes) -> float:
        """For how many seconds a connection may be kept after a response with this `Keep-Alive` field."""
        timeout = keep_alive_timeout(keep_alive) if keep_alive else None
        if timeout is None:
            return self._idle
        return min(self._idle, max(timeout - _MARGIN, timeout / 2))


def _shape(data: bytes) -> _Shape | None:
    """The shape of all responses like this one; `None` when only the parser can read them."""
    first, *lines = data[: data.index(b"\r\n\r\n")].split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None or status_line[1] in _BODYLESS or len(lines) > _MOST_FIELDS:
        return None
    runs = [re.escape(first) + rb"\r\n"]  # the parts that are forwarded; the dropped parts lie between them
    pattern, keep_alive, length, dated = b"", b"", 0, False
    kept, groups = [1], 1
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        name, value = field.groups()
        kind = response_kind(name)
        begin = re.escape(name) + b": "
        if kind is Kind.KEEP or (kind is Kind.DATE and not dated):
            dated = dated or kind is Kind.DATE
            runs[-1] += begin + _VALUE + rb"\r\n"
        elif kind is Kind.CONTENT_LENGTH and not length:
            groups += 1
            length = groups
            runs[-1] += begin + _LENGTH + rb"\r\n"
        elif kind in (Kind.DROP, Kind.KEEP_ALIVE) or (kind is Kind.CONNECTION and b"," + value in PLAIN_OPTIONS):
            literal = _VALUE if kind is Kind.DROP else re.escape(value)
            if kind is Kind.KEEP_ALIVE:
                keep_alive, literal = value, _REQUESTS_LEFT.sub(b"max=[0-9]{1,9}", literal)
            pattern += b"(" + runs[-1] + b")" + begin + literal + rb"\r\n"
            runs.append(b"")
            groups += 1
            kept.append(groups)
        else:
            return None
    pattern += b"(" + runs[-1] + b")" + rb"\r\n"
    return (
        _Shape(int(status_line[1]), pattern, tuple(kept), length, dated=dated, keep_alive=keep_alive)
        if length
        else None
    )
