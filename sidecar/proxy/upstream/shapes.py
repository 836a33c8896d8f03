"""Responses that come in one read, with a head that differs from an earlier one in nothing but values.

An API server repeats its heads: the same status line, the same fields in the same order, only their values change. What
such a head means has been worked out by the parser once. A *shape* is what then can be said of every head like it, as one
strict expression: the status line and the names of the fields as they stood, each value anything that cannot be read in two
ways, and a length that the rest of the read has exactly. A response that a shape matches goes on as the bytes it came as,
without the fields that end at us; every other one is for the parser. `tests/unit/test_shapes.py` compares the two ways.
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
# Of `Keep-Alive`: what counts the requests that are left differs from one answer to the next, and says nothing that we heed.
_REQUESTS_LEFT: Final = re.compile(rb"max=[0-9]{1,9}")
_MOST_FIELDS: Final = 100
_MOST_SHAPES: Final = 4  # are tried one after the other
_CREDIT: Final = 64  # learning costs 8 of it, a match brings 1: an API without shapes is not asked for them for ever
_PRICE: Final = 8
_MARGIN: Final = 1.0  # seconds before an upstream closes a connection: a request that is under way then would be lost


class _Shape:
    __slots__ = ("_body", "_head", "_last", "dated", "keep_alive", "kept", "length", "match", "pattern", "status")

    def __init__(
        self, status: int, pattern: bytes, kept: tuple[int, ...], length: int, *, dated: bool, keep_alive: bytes
    ) -> None:
        self._last = b"\r\n\r\n"  # the last head that matched; no response begins like this
        self._head = b""  # what of it goes on
        self._body = -1  # the length that it announced; no body has this one
        self.status = status
        self.pattern = pattern
        self.match = re.compile(pattern).match
        self.kept = kept  # the groups that go on
        self.length = length  # the group of the length
        self.dated = dated  # it says when it was made
        self.keep_alive = keep_alive  # what it says about its connection

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
    """The shapes of an upstream's responses that were met last. For responses to anything but HEAD, on a connection that
    stays open. `idle_for`: for how many seconds such a connection may be kept after the response that was read last, at most
    `idle`."""

    def __init__(self, idle: float) -> None:
        self._idle = self.idle_for = idle
        self._shapes: list[tuple[_Shape, float]] = []  # and its `idle_for`
        self._credit = _CREDIT

    def __repr__(self) -> str:
        return f"<ResponseShapes {len(self._shapes)}>"

    def read(self, data: bytes) -> WholeResponse | None:
        """The response that `data` is, if it has a known shape and nothing is before or behind it."""
        for shape, idle_for in self._shapes:
            whole = shape.read(data)
            if whole is not None:
                self.idle_for = idle_for
                if self._credit < _CREDIT:
                    self._credit += 1
                return whole
        return None

    def learn(self, data: bytes) -> None:
        """Remember the shape of a response that the parser found to be whole and to leave its connection open."""
        if self._credit < _PRICE:
            return
        self._credit -= _PRICE
        shape = _shape(data)
        if shape is not None and all(known.pattern != shape.pattern for known, _ in self._shapes):
            self._shapes = [(shape, self.kept_for(shape.keep_alive)), *self._shapes[: _MOST_SHAPES - 1]]

    def kept_for(self, keep_alive: bytes) -> float:
        """For how many seconds a connection may be kept whose response said this in `Keep-Alive`."""
        timeout = keep_alive_timeout(keep_alive) if keep_alive else None
        if timeout is None:
            return self._idle
        return min(self._idle, max(timeout - _MARGIN, timeout / 2))


def _shape(data: bytes) -> _Shape | None:
    """What can be said of every response like this one; `None` when it takes the parser to read one."""
    first, *lines = data[: data.index(b"\r\n\r\n")].split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None or status_line[1] in _BODYLESS or len(lines) > _MOST_FIELDS:
        return None
    runs = [re.escape(first) + rb"\r\n"]  # of what goes on; between two of them is what does not
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
