"""Which protocol a request line names.

aiohttp's parser reads `OPTIONS /x RTSP/1.0` and `SOURCE /x ICE/1.0` like HTTP, and keeps the version but not the protocol's
name. So the bytes are looked at here as well. Where a request begins within a read is known to the parser alone. Hence two
rules:

- The line that begins a read, or goes on with one that an earlier read began, is looked at exactly.
- Where a read holds more than one request, or a part of another one, any line in it that ends like a request line of another
  protocol is taken for one. A body in the same read could hold such a line: that request is refused without need.
"""

import re
from typing import Final

_OTHER: Final = re.compile(rb" (?:RTSP|ICE)/[0-9]\.[0-9][ \t]*\r?\n")
_ENOUGH: Final = 32  # bytes of the end of a line


class RequestLineWatch:
    """Follows the reads of one connection, whose parser is stricter about everything else."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line: bytes | None = b""  # the end of what came of a request line; `None` when that is whole

    def head(self, data: bytes) -> bool:
        """Take a read that begins a head or goes on with one. Whether its request line, so far, may be HTTP's."""
        if self._line is None:
            return True
        if not self._line and (end := data.find(b"\r\n")) > 0 and data.endswith(b" HTTP/1.1", 0, end):
            self._line = None
            return True
        text = self._line + data if self._line else data
        if text[:1] in (b"\r", b"\n"):
            text = text.lstrip(b"\r\n")  # which the parser passes over (RFC 9112 section 2.2)
        end = text.find(b"\n")
        self._line = text[-_ENOUGH:] if end < 0 else None
        return end < 0 or not _OTHER.search(text, max(0, end - _ENOUGH), end + 1)

    def ended(self, data: bytes, *, alone: bool) -> bool:
        """A request ended in this read; `alone`: and nothing else is in it. Whether all the lines may be HTTP's."""
        self._line = b"" if alone else data[-_ENOUGH:].rpartition(b"\n")[2]
        return alone or not ((b"RTSP/" in data or b"ICE/" in data) and _OTHER.search(data))
