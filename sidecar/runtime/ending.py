"""Ends a process in time after it was told to stop, whatever hangs.

A task may swallow its cancellation, a store may not close, a thread or a callback may never return. So a separate thread
watches the time, and ends the process when it is over. A log line then says what was in progress.
"""

import asyncio
import contextlib
import logging
import math
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from sidecar.ops.logs import last_words
from sidecar.runtime.sockets import StartError

log: Final = logging.getLogger("sidecar")

GRACE: Final = 3.0  # seconds for everything besides finishing requests
NO_THREAD: Final = "the system gives no thread: raise the limit of processes"
_NAMED: Final = 10


class EndedBadly(Exception):
    """The process has ended, but not in an orderly way: exit code 1. The log has the reason."""


def in_background(work: Callable[[], None], name: str) -> None:
    """Do it in a daemon thread, which does not keep the process alive. Raises `StartError`."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        raise StartError(NO_THREAD) from None


class Ending:
    """Create it in the event loop. `doing` says what is in progress, for the log; `code` is the exit code when the time is
    over. Raises `StartError`."""

    def __init__(self) -> None:
        self.doing = "letting requests finish"
        self.code = 1
        self._loop = asyncio.get_running_loop()
        self._ends: queue.SimpleQueue[float] = queue.SimpleQueue()
        in_background(self._watch, "ending")

    def within(self, seconds: float) -> None:
        """End the process in at most this many seconds. An earlier deadline stays in force. A signal handler may call this."""
        self._ends.put(time.monotonic() + seconds)

    def _watch(self) -> None:
        end = math.inf
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                end = min(end, self._ends.get(timeout=None if left == math.inf else left))
        try:
            log.error("shutdown_overdue", extra={"doing": self.doing, **_what_goes_on(self._loop)})
            last_words()
        finally:
            os._exit(self.code)


def _what_goes_on(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """The unfinished tasks and threads, and the position of the main thread."""
    main = threading.main_thread()
    tasks = [f"{task.get_name()}: {' > '.join(_awaiting(task.get_coro()))}" for task in asyncio.all_tasks(loop)]
    threads = [thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon]
    frame = sys._current_frames().get(main.ident or 0)  # noqa: SLF001  public, in spite of its name
    place = traceback.extract_stack(frame)[-1] if frame else None
    at = f"{place.filename}:{place.lineno} {place.name}" if place else "nowhere"
    return {"tasks": sorted(tasks)[:_NAMED], "threads": threads[:_NAMED], "main_thread": at}


def _awaiting(work: object) -> Iterator[str]:
    """The names of a task's coroutines, from the outermost."""
    while (name := getattr(work, "__qualname__", None)) is not None:
        yield name
        work = getattr(work, "cr_await", None)
