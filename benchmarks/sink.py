"""An API server for uploads: `python -m benchmarks.sink PORT` answers each request when its whole body has come.

It understands bodies with a Content-Length only, and reads them into one buffer.
"""

import asyncio
import re
import sys
from typing import Any

import uvloop

from benchmarks.contenders import BODY

_ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Sink(asyncio.BufferedProtocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray(256 * 1024)
        self._head = bytearray()
        self._left = 0

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  the loop's contract
        """Always the same: nobody looks at a body."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count a body's bytes, after its head."""
        if not self._left:
            self._head += self._buffer[:nbytes]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self._head, 0, end + 2)
            nbytes = len(self._head) - end - 4
            self._left = int(found[1]) if found else 0
            self._head.clear()
        self._left -= nbytes
        if self._left == 0:
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
