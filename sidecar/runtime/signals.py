"""What signals do to our processes.

- SIGTERM and SIGINT end a process in order; before it has begun to serve, at once.
- SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, which would kill it and cut its requests, are logged and ignored. Until the log can be
  written they wait.
- What is ignored when the process begins stays so: that is what `nohup` does.

The handlers are Python's own and not the event loop's: they also run while a callback keeps the loop, and after it was closed,
so that a second SIGTERM does not kill a process which is about to end.
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
    """For the first moment of a command that serves: what is to be ignored waits for `heed`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    signal.signal(signal.SIGTERM, _leave)  # as process 1 of a container Python would not hear it otherwise


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def heed(stop: Callable[[], None]) -> None:
    """From now on. `stop` is called between any two steps of the main thread, also more than once. To be called in the event
    loop."""
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
    """For the last steps of a process, on which Python takes its handlers away: nothing kills it there."""
    for number in (*_STOPPING, *_IGNORED):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def withheld() -> Iterator[None]:
    """A process that is started meanwhile gets none of these, but SIGTERM, before it says `heed`: its parent may be sent them
    together with its children, as by a terminal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_IGNORED, signal.SIGINT))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
