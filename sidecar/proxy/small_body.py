"""The body of a request that was read without the full parser: its length is known, and at most `plain_heads.SMALL` bytes of
it arrive after the head. It needs no flow control, no task and no future: whoever waits for it is called once.

It has the methods of `aiohttp.StreamReader` that the data path uses.
"""

import asyncio
from collections.abc import Callable


class SmallBody:
    """A body of `length` bytes, more than none, that begins with `data`."""

    __slots__ = ("_came", "_dropped", "_exception", "_missing", "_on_end", "total_bytes")

    def __init__(self, length: int, data: bytes) -> None:
        self._came: bytes | bytearray = data  # not a list of reads: the client decides how small those are
        self._missing = length - len(data)
        self._exception: BaseException | None = None
        self._on_end: Callable[[], None] | None = None
        self._dropped = False
        self.total_bytes = len(data)

    def __repr__(self) -> str:
        return f"<SmallBody {self.total_bytes} bytes{f', {self._missing} missing' if self._missing else ''}>"

    # Called by the reader.

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the connection. Returns those that follow the body."""
        missing = self._missing
        mine, rest = (data, b"") if len(data) <= missing else (data[:missing], data[missing:])
        self._missing -= len(mine)
        self.total_bytes += len(mine)
        if not self._dropped:
            self._keep(mine)
        if not self._missing:
            self._end()
        return rest

    def _keep(self, data: bytes) -> None:
        came = self._came
        if not came:
            self._came = data
        elif isinstance(came, bytearray):
            came += data
        else:
            self._came = bytearray(came) + data

    def drop(self) -> None:
        """No one needs the body: keep none of its bytes."""
        self._dropped = True
        self._came = b""

    def set_exception(self, exc: BaseException) -> None:
        """The rest will not arrive."""
        if self._missing:
            self._exception = exc
            self._came = b""
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    # Called by the exchange.

    def is_eof(self) -> bool:
        """Whether the whole body has arrived."""
        return not self._missing

    def at_eof(self) -> bool:
        """Whether the whole body has arrived and was read."""
        return not self._missing and not self._came

    def exception(self) -> BaseException | None:
        """Why the rest will not arrive, if so."""
        return self._exception

    def read_nowait(self) -> bytes:
        """The bytes that have arrived, each once. Raises the exception that was set."""
        if self._exception is not None:
            raise self._exception
        came, self._came = self._came, b""
        return bytes(came)

    async def readany(self) -> bytes:
        """The whole body; empty once it was read. Raises the exception that was set."""
        if self._missing and self._exception is None:
            ended = asyncio.get_running_loop().create_future()
            self.when_ended(lambda: None if ended.done() else ended.set_result(None))
            await ended
        return self.read_nowait()

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call this once the whole body has arrived, or it is certain that the rest will not. Replaces an earlier call."""
        self._on_end = call
