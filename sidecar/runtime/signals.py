"""Signal handling of the sidecar's processes.

- SIGTERM and SIGINT end a process in an orderly way. Before it has begun to serve, they end it at once.
- SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, which would kill the process and cut its requests, are logged and ignored. They are
  blocked until the log can be written.
- Those of them that are ignored when the process begins stay ignored: `nohup` relies on that.

The handlers are Python's and not the event loop's: they also run while a callback blocks the loop, and after the loop was
closed, so that a second SIGTERM does not kill a process that is about to end.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NoReturn

log: Final = logging.getLogger("sidecar")

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_IGNORED: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_INSTEAD: Final = {signal.SIGHUP: "a new configuration needs a restart"}


def begin() -> None:
    """Call this first in a command that serves: the signals to be ignored are blocked until `heed`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    signal.signal(signal.SIGTERM, _leave)  # as process 1 of a container, Python would not get it otherwise


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def heed(stop: Callable[[], None]) -> None:
    """Handle signals from now on. A handler may call `stop` between any two steps of the main thread, and more than once. Call
    this in the event loop."""
    loop = asyncio.get_running_loop()

    def note(number: int, _: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_say_ignored, signal.Signals(number))

    for number in _STOPPING:
        signal.signal(number, lambda _, __: stop())
    for number in _IGNORED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_IGNORED, signal.SIGINT))


def _say_ignored(number: signal.Signals) -> None:
    detail = {"detail": _INSTEAD[number]} if number in _INSTEAD else {}
    log.warning("signal_ignored", extra={"signal": number.name, **detail})


def end() -> None:
    """Ignore these signals in the last steps of a process, when Python removes its handlers: none of them kills it there."""
    for number in (*_STOPPING, *_IGNORED):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """Block these signals, except SIGTERM, for a process that is started inside, until it calls `heed`: a terminal, for
    example, sends them to the parent and its children together."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_IGNORED, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
