"""Writing log lines without ever waiting for who reads them.

Whoever writes to a pipe that nobody reads stands still, and with it every request. So here:

- A line is written at once where that can be done without waiting, and else waits in a buffer, which a thread of its own
  empties as the reader goes on.
- The buffer is bounded. What does not fit is dropped, whole lines, and counted; when there is room again, a line says how
  many. A reader that is gone and a disk that is full cost lines, too, and nothing else.
- Order stays, and a line is written whole: in pieces that end with a line, and of no more bytes than a pipe takes in one
  step where several processes share it. A single line that is longer may be split by the kernel.
- The descriptor is inherited. `O_NONBLOCK` would hold for all who share it, so it is never set: a pipe or a terminal is
  opened anew for us, a socket takes the wish with each call, and what can do neither is written by the thread alone.
"""

import io
import math
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

_MOST_BYTES: Final = 1024 * 1024
_MOST_PIECES: Final = 20_000
_WHOLE: Final = select.PIPE_BUF  # bytes that a pipe takes in one step
_ALONE: Final = 64 * 1024  # bytes to write at once where nobody else's lines can come between
_AT_A_TIME: Final = 16  # pieces that the thread writes before it lets others come between
_NO_PROGRESS: Final = 0.01  # seconds; a descriptor may call itself ready and take nothing


class Outlet(NamedTuple):
    """Where bytes leave. `write` gives how many it took; it raises `BlockingIOError` when it would have to wait, unless it
    `waits`. `descriptor` is the one to ask whether it would take any. A `file` takes all at once from whoever writes."""

    descriptor: int
    write: Callable[[bytes], int]
    waits: bool
    file: bool = False


def open_outlet(descriptor: int) -> Outlet:
    """The best way to write to a descriptor that others share. Raises `OSError` when it is closed."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return Outlet(descriptor, lambda data: sock.send(data, socket.MSG_DONTWAIT), waits=False)
    if stat.S_ISREG(mode):  # opened anew it would begin at its start
        return Outlet(descriptor, partial(os.write, descriptor), waits=True, file=True)
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # no Linux, another user's, or a pipe whose reader is gone
        return Outlet(descriptor, partial(os.write, descriptor), waits=True)
    return Outlet(own, partial(os.write, own), waits=False)


class _Notice(bytes):
    """A line that reports so many dropped ones."""

    reports: int = 0


class LogWriter(io.TextIOBase):
    """A text stream of lines to a descriptor, for any thread. `notice` makes the line that reports so many dropped ones;
    `dropped` counts them since the start. `alone`: no other process writes there. Raises `OSError` for a descriptor that is
    closed."""

    def __init__(
        self,
        descriptor: int,
        *,
        alone: bool = False,
        most_bytes: int = _MOST_BYTES,
        most_pieces: int = _MOST_PIECES,
    ) -> None:
        self.dropped = 0
        self.notice: Callable[[int], str] = "{} log lines were dropped\n".format
        self.alone = alone
        self._descriptor = descriptor
        self._outlet = open_outlet(descriptor)
        self._most = (most_bytes, most_pieces)
        self._queue: deque[bytes] = deque()
        self._waiting = 0  # bytes in the queue
        self._unreported = 0
        self._unfinished = ""
        self._split = False  # the first of the queue has begun to go out
        self._torn = False  # what went out last has no end, and will have none
        # A destructor may write a warning in the middle of all this: the thread that holds the lock gets it again, and what
        # is written then waits until what goes on is done.
        self._turn = threading.Condition(threading.RLock())
        self._busy = False
        self._meanwhile: list[str] = []
        threading.Thread(target=self._empty, name="logs", daemon=True).start()

    def __repr__(self) -> str:
        return f"<LogWriter {self._waiting} bytes waiting, {self.dropped} lines dropped>"

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute
        """As of any text stream."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # likewise
        """As of any text stream."""
        return "backslashreplace"

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor as it was inherited, which child processes may inherit."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Take text. What has no line feed yet waits for it. Never waits, never raises for what becomes of the lines."""
        with self._turn:
            self._meanwhile.append(text)
            if not self._busy:
                self._undisturbed(self._take_all)
        return len(text)

    def drain(self, within: float) -> None:
        """Write what waits, as far as the reader takes it within so many seconds. For the end of the process."""
        deadline = time.monotonic() + within
        with self._turn:
            self.write("\n" if self._unfinished else "")
            while self._queue and (left := deadline - time.monotonic()) > 0:
                self._turn.wait(left)

    def _undisturbed(self, act: Callable[[], None]) -> None:
        self._busy = True
        try:
            act()
        finally:
            self._busy = False

    def _take_all(self) -> None:
        while self._meanwhile:
            text = self._meanwhile.pop(0)
            end = text.rfind("\n") + 1
            if end or len(self._unfinished) > self._most[0]:
                whole, self._unfinished = self._unfinished + text[:end], text[end:]
                self._take(whole.encode("utf-8", "backslashreplace"))
            else:
                self._unfinished += text

    def _take(self, data: bytes) -> None:
        """Write lines, queue them, or drop them."""
        if not (self._outlet.waits or self._queue or self._unreported or self._torn):
            data = self._straight_out(data)
        for piece in _pieces(data, self._most_at_once):
            begun = self._split and not self._queue
            if begun or self._has_room(piece):
                self._add(piece)
            else:
                self._drop(piece)
        if self._queue and not self._outlet.waits:
            self._write()
        if self._queue:
            self._turn.notify_all()

    @property
    def _most_at_once(self) -> int:
        return min(_ALONE if self.alone or self._outlet.file else _WHOLE, self._most[0])

    def _straight_out(self, data: bytes) -> bytes:
        """Write what goes at once, while nothing waits; gives the rest."""
        done = 0
        try:
            for piece in _pieces(data, self._most_at_once):
                if len(piece) > self._most[0]:
                    break
                count = self._outlet.write(piece)
                done += count
                self._split = 0 < count < len(piece)
                if count < len(piece):
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._drop(data[done:])
            return b""
        return data[done:]

    def _has_room(self, piece: bytes) -> bool:
        """Once lines were dropped there is room only when half of the buffer is free, so that gaps are few, and reported."""
        if self._unreported:
            self._report()
        size, count = self._most
        return not self._unreported and self._waiting + len(piece) <= size and len(self._queue) < count

    def _report(self) -> None:
        size, count = self._most
        if 2 * self._waiting <= size and 2 * len(self._queue) <= count:
            notice = _Notice(self.notice(self._unreported).encode("utf-8", "backslashreplace"))
            notice.reports, self._unreported = self._unreported, 0
            self._add(notice)

    def _add(self, piece: bytes) -> None:
        self._queue.append(piece)
        self._waiting += len(piece)

    def _drop(self, piece: bytes) -> None:
        if isinstance(piece, _Notice):
            self._unreported += piece.reports
        else:
            lines = piece.count(b"\n") or 1
            self.dropped += lines
            self._unreported += lines

    def _write(self, most: float = math.inf) -> None:
        """Write so many pieces of what waits, or as many as go without waiting."""
        try:
            while self._queue and most:
                most -= 1
                self._sent(self._outlet.write(self._next()))
        except BlockingIOError:
            pass
        except OSError:
            self._failed()

    def _next(self) -> bytes:
        return b"\n" if self._torn else self._queue[0]

    def _sent(self, count: int) -> None:
        """So many bytes of what was next are out."""
        if self._torn:
            self._torn = count == 0
            return
        piece = self._queue[0]
        self._waiting -= count
        if count < len(piece):
            self._split = self._split or count > 0
            self._queue[0] = piece[count:]
            return
        self._split = False
        self._queue.popleft()
        if not self._queue:
            if self._unreported:
                self._report()
            self._turn.notify_all()

    def _failed(self) -> None:
        """Nothing of what waits can be written."""
        self._torn, self._split = self._torn or self._split, False
        for piece in self._queue:
            self._drop(piece)
        self._queue.clear()
        self._waiting = 0
        self._turn.notify_all()

    def _empty(self) -> None:
        """What the thread does."""
        poll = select.poll()
        poll.register(self._outlet.descriptor, select.POLLOUT)
        while True:
            with self._turn:
                while not self._queue:
                    self._turn.wait()
                data, before = self._next(), self._waiting
            if self._outlet.waits:
                self._wait_and_write(data)
            else:
                poll.poll()
                with self._turn:
                    self._undisturbed(lambda: self._write(_AT_A_TIME))
            if self._waiting == before:
                time.sleep(_NO_PROGRESS)

    def _wait_and_write(self, data: bytes) -> None:
        act: Callable[[], None] = self._failed
        try:
            act = partial(self._sent, self._outlet.write(data))
        except BlockingIOError:  # somebody else has made it so
            return
        except OSError:
            pass
        with self._turn:
            self._undisturbed(act)


def _pieces(data: bytes, most: int) -> Iterator[bytes]:
    """Whole lines, of at most so many bytes together; one that is longer stands alone."""
    start, length = 0, len(data)
    while length - start > most:
        end = data.rfind(b"\n", start, start + most) + 1 or data.find(b"\n", start + most) + 1 or length
        yield data[start:end]
        start = end
    if start < length:
        yield data[start:] if start else data
