"""Checks which protocol a request line names.

aiohttp's parser reads `OPTIONS /x RTSP/1.0` and `SOURCE /x ICE/1.0` like HTTP; it keeps the version but not the name of the
protocol. So this module looks at the bytes as well. Only the parser knows where a request begins within a read. Hence two
rules:

- A line that begins a read, or continues a line that began in an earlier read, is checked exactly.
- In a read that holds more than one request, or part of another one, any line that ends like a request line of another
  protocol counts as one. A body in the same read could contain such a line; its request is then refused unnecessarily.
"""

import re
from typing import Final

_OTHER: Final = re.compile(rb" (?:RTSP|ICE)/[0-9]\.[0-9][ \t]*\r?\n")
_ENOUGH: Final = 32  # bytes at the end of a line


class RequestLineWatch:
    """Follows the reads of one connection; its parser rejects all other malformed request lines."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line: bytes | None = b""  # the end of an incomplete request line; `None` when it is complete

    def head(self, data: bytes) -> bool:
        """Take a read that begins or continues a head. Returns whether its request line may still be HTTP."""
        if self._line is None:
            return True
        if not self._line and (end := data.find(b"\r\n")) > 0 and data.endswith(b" HTTP/1.1", 0, end):
            self._line = None
            return True
        text = self._line + data if self._line else data
        if text[:1] in (b"\r", b"\n"):
            text = text.lstrip(b"\r\n")  # the parser skips these (RFC 9112 section 2.2)
        end = text.find(b"\n")
        self._line = text[-_ENOUGH:] if end < 0 else None
        return end < 0 or not _OTHER.search(text, max(0, end - _ENOUGH), end + 1)

    def ended(self, data: bytes, *, alone: bool) -> bool:
        """A request ended in this read; `alone`: the read holds nothing else. Returns whether all its request lines may be
        HTTP."""
        self._line = b"" if alone else data[-_ENOUGH:].rpartition(b"\n")[2]
        return alone or not ((b"RTSP/" in data or b"ICE/" in data) and _OTHER.search(data))
