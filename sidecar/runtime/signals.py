"""Signal handling of the sidecar's processes.

- SIGTERM and SIGINT end a process in an orderly way. Before it has begun to serve, they end it at once.
- SIGHUP reloads the configuration, and SIGUSR2 begins the soft drain, where the process can do that.
- Those that a process has no use for, and SIGQUIT and SIGUSR1, would kill it and cut its requests. They are logged and ignored.
  All four are blocked until the log can be written.
- Those of them that are ignored when the process begins stay ignored: `nohup` relies on that.

The handlers are Python's and not the event loop's: they also run while a callback blocks the loop, and after the loop was
closed, so that a second SIGTERM does not kill a process that is about to end.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Final, NoReturn

log: Final = logging.getLogger("sidecar")

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_HARMLESS: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_OF_THE_PARENT: Final = "send it to the parent process"


def begin() -> None:
    """Call this first in a command that serves: the signals to be ignored are blocked until `heed`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HARMLESS)
    signal.signal(signal.SIGTERM, _leave)  # as process 1 of a container, Python would not get it otherwise


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def heed(
    stop: Callable[[], None], *, reload: Callable[[], None] | None = None, drain: Callable[[], None] | None = None
) -> None:
    """Handle signals from now on. A handler may call `stop` between any two steps of the main thread, and more than once. The
    event loop calls `reload` and `drain`. Call this in the event loop."""
    loop = asyncio.get_running_loop()
    actions = {signal.SIGHUP: reload, signal.SIGUSR2: drain}

    def note(number: int, _: FrameType | None) -> None:
        if not loop.is_closed():
            action = actions.get(signal.Signals(number))
            loop.call_soon_threadsafe(action or partial(_say_ignored, signal.Signals(number)))

    for number in _STOPPING:
        signal.signal(number, lambda _, __: stop())
    for number in _HARMLESS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_HARMLESS, signal.SIGINT))


def _say_ignored(number: signal.Signals) -> None:
    detail = {"detail": _OF_THE_PARENT} if number in (signal.SIGHUP, signal.SIGUSR2) else {}
    log.warning("signal_ignored", extra={"signal": number.name, **detail})


def end() -> None:
    """Ignore these signals in the last steps of a process, when Python removes its handlers: none of them kills it there."""
    for number in (*_STOPPING, *_HARMLESS):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """Block these signals, except SIGTERM, for a process that is started inside, until it calls `heed`: a terminal, for
    example, sends them to the parent and its children together."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_HARMLESS, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
