"""Writes log lines without ever waiting for their reader.

A process that writes to a pipe which is not read blocks, and with it every request. So here:

- A line is written at once if that is possible without waiting. Otherwise it waits in a buffer, which a separate thread
  empties as the reader continues.
- The buffer is bounded. Lines that do not fit are dropped whole and counted; when there is room again, a line reports the
  number. A reader that is gone and a full disk cost lines as well, and nothing else.
- Lines keep their order and are written whole: in pieces that end with a line and, where several processes share a pipe, have
  no more bytes than the pipe takes in one step. The kernel may split a single line that is longer.
- The descriptor is inherited. `O_NONBLOCK` would apply to every process that shares it, so it is never set: a pipe or a
  terminal is opened again, a socket is told with each call not to wait, and to any other descriptor only the thread writes.
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
_ALONE: Final = 64 * 1024  # bytes to write at once where no other process can write in between
_AT_A_TIME: Final = 16  # pieces that the thread writes before it releases the lock
_NO_PROGRESS: Final = 0.01  # seconds; a descriptor may report that it is ready and take nothing


class Outlet(NamedTuple):
    """The way out for bytes. `write` returns how many bytes it wrote. When it would have to wait, it raises `BlockingIOError`,
    or waits if `waits` is set. `descriptor` is the one to poll. A `file` takes each write as a whole, from any process."""

    descriptor: int
    write: Callable[[bytes], int]
    waits: bool
    file: bool = False


def open_outlet(descriptor: int) -> Outlet:
    """The best way to write to a descriptor that other processes share. Raises `OSError` when it is closed."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        return Outlet(descriptor, lambda data: sock.send(data, socket.MSG_DONTWAIT), waits=False)
    if stat.S_ISREG(mode):  # opened again, it would be written from its start
        return Outlet(descriptor, partial(os.write, descriptor), waits=True, file=True)
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # not Linux, a descriptor of another user, or a pipe whose reader is gone
        return Outlet(descriptor, partial(os.write, descriptor), waits=True)
    return Outlet(own, partial(os.write, own), waits=False)


class _Notice(bytes):
    """A line that reports dropped lines; `reports` is their number."""

    reports: int = 0


class LogWriter(io.TextIOBase):
    """A text stream that writes lines to a descriptor; any thread may use it. `notice` makes the line that reports a number of
    dropped lines; `dropped` counts them since the start. `alone`: no other process writes there. Raises `OSError` when the
    descriptor is closed."""

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
        self._split = False  # a part of the first piece in the queue has been written
        self._torn = False  # the line that was written last has no end, and will not get one
        # A destructor may write a warning at any point of this code. So the thread that holds the lock can take it again, and
        # the new text waits until the current step is complete.
        self._turn = threading.Condition(threading.RLock())
        self._busy = False
        self._meanwhile: list[str] = []
        threading.Thread(target=self._empty, name="logs", daemon=True).start()

    def __repr__(self) -> str:
        return f"<LogWriter {self._waiting} bytes waiting, {self.dropped} lines dropped>"

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute
        """The attribute of a text stream."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # likewise
        """The attribute of a text stream."""
        return "backslashreplace"

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor as this process inherited it. Child processes may inherit it."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Take text. Text after the last line feed waits for the next one. Never blocks, and never raises when lines are
        lost."""
        with self._turn:
            self._meanwhile.append(text)
            if not self._busy:
                self._undisturbed(self._take_all)
        return len(text)

    def drain(self, within: float) -> None:
        """Write the waiting lines, as far as the reader takes them within this many seconds. For the end of the process."""
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
        """Write as much as possible without waiting, when the queue is empty. Returns the rest."""
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
        """Whether the buffer has room for a piece. Once lines were dropped, it has room only when half of it is free, so that
        gaps are few, and each is reported."""
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
        """Write at most this many pieces of the queue, as far as that is possible without waiting."""
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
        """Note that this many bytes of the next piece were written."""
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
        """Drop the queue, because it cannot be written."""
        self._torn, self._split = self._torn or self._split, False
        for piece in self._queue:
            self._drop(piece)
        self._queue.clear()
        self._waiting = 0
        self._turn.notify_all()

    def _empty(self) -> None:
        """The work of the thread."""
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
        except BlockingIOError:  # another process has set O_NONBLOCK
            return
        except OSError:
            pass
        with self._turn:
            self._undisturbed(act)


def _pieces(data: bytes, most: int) -> Iterator[bytes]:
    """Pieces of whole lines, of at most `most` bytes each. A line that is longer is a piece of its own."""
    start, length = 0, len(data)
    while length - start > most:
        end = data.rfind(b"\n", start, start + most) + 1 or data.find(b"\n", start + most) + 1 or length
        yield data[start:end]
        start = end
    if start < length:
        yield data[start:] if start else data
