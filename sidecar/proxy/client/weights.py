"""About how much memory the parts of a request take, in bytes. The figures are those of CPython on 64 bits, rounded up.

The parser keeps each field of a head twice, as bytes and as text, in several small objects. So a head of many small fields
takes thirty times its size, and one of large fields twice. A text with a character outside of ASCII takes up to four bytes
for each character.
"""

from typing import Final

from aiohttp.streams import EMPTY_PAYLOAD

from sidecar.core.http.plain_heads import PlainHead
from sidecar.proxy.request import Body, Message
from sidecar.proxy.small_body import SmallBody

_FIELD: Final = 300  # the objects of a field that was parsed
_FIELD_OF_MANY: Final = 500  # the same, in the head of a whole request
_MESSAGE: Final = 1500  # the objects of a request
_PIECE: Final = 90  # the objects of a chunk that was not read yet
_ASCII, _OTHER = 2, 5  # how often a byte is kept: once as bytes, and as text
_PLAIN: Final = 4  # how often a byte of a plain head is kept: as it came, as it is forwarded, and in its parts


class UnfinishedHead:
    """What has arrived of a head. `weight` is what it takes."""

    __slots__ = ("_fields", "_kept", "_size")

    def __init__(self, data: bytes = b"") -> None:
        self._size = self._fields = 0
        self._kept = _ASCII
        if data:
            self.add(data)

    def __repr__(self) -> str:
        return f"<UnfinishedHead {self._size} bytes>"

    def add(self, data: bytes) -> None:
        """Another read is part of the head."""
        self._size += len(data)
        self._fields += data.count(b"\n")
        if not data.isascii():
            self._kept = _OTHER

    @property
    def weight(self) -> int:
        """In bytes."""
        return self._size * self._kept + self._fields * _FIELD


def of_head(message: Message) -> int:
    """Of the head of a request."""
    if isinstance(message, PlainHead):
        return message.start * _PLAIN
    fields = message.raw_headers
    size = len(message.path) + sum([len(name) + len(value) for name, value in fields])
    kept = _ASCII if all(value.isascii() for _, value in fields) else _OTHER
    return _MESSAGE + size * (kept + 1) + len(fields) * _FIELD_OF_MANY  # one more for what is forwarded of it


def of_body(body: Body, *, whole: bool) -> int:
    """Of the part of a body that waits to be read; with `whole`, of all that has arrived, because its reader keeps it."""
    if body is EMPTY_PAYLOAD:
        return 0
    if whole:
        return body.total_bytes
    if isinstance(body, SmallBody):
        return 0 if body.at_eof() else body.total_bytes
    # aiohttp does not tell these otherwise; tests/unit/proxy/client/test_weights.py notices when they change.
    return body._size + _PIECE * len(body._http_chunk_splits or ())  # noqa: SLF001
