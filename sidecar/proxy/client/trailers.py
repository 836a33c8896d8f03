"""Keeps the trailers of one request out of the next.

aiohttp's parser keeps the last trailer of a chunked request and takes it for the first field of the next request on the
connection. Behind a load balancer the next request may belong to another client, so one client could set a field in another's
request. Therefore, when a chunked request ends where a read ends, its parser is replaced by a new one. When more follows in
the same read, the parser already has it: then the first field of the next request must be found behind a request line, or the
request is refused.
"""

from collections.abc import Sequence
from typing import Final

from sidecar.proxy.request import Request

_END: Final = b"\r\n\r\n"


class TrailerWatch:
    """Follows the reads of one connection. While it is not `watching`, the reader need show it only reads from which a chunked
    request, or more than one request, was parsed."""

    __slots__ = ("_chunked", "_last", "_since", "owed")

    def __init__(self) -> None:
        self.owed = False  # the parser may hold a trailer
        self._chunked = False  # the last request is chunked
        self._last = b""  # the last three bytes before a read of a chunked request
        self._since = b""  # what was read since the parser may hold a trailer

    @property
    def watching(self) -> bool:
        """Whether the last request is chunked, or the parser may hold a trailer."""
        return self._chunked or self.owed

    def mixed(self, data: bytes, requests: Sequence[Request], *, ended: bool) -> bool:
        """Take a read and the requests parsed from it; `ended`: the body of the previous request ended. Returns whether one
        of them has, or may have, a field that is not its own."""
        if self._chunked and ended:
            self.owed = True
        for message, payload in requests:
            fields = message.raw_headers
            if self.owed and fields:
                own = b" HTTP/1.%d\r\n%b:" % (message.version[1], fields[0][0])
                if own not in self._since + data:
                    return True
            self._chunked = bool(message.chunked)
            self.owed = self._chunked and payload.is_eof()
        return False

    def passed(self, data: bytes, *, held: bool) -> bool:
        """Prepare for the next read; `held`: the parser holds back a part of this one. Returns whether a new parser must take
        over."""
        ended = self.owed and not held and (self._last + data).endswith(_END)
        self._since = self._since + data if self.owed and not ended else b""
        self._last = (self._last + data)[-3:]
        self.owed = self.owed and not ended
        return ended
