"""The command line, run in this process."""

import contextlib
import signal
from collections.abc import Iterator

from click.testing import CliRunner, Result

from sidecar.cli import main


def run(*arguments: str, stdin: str = "") -> Result:
    """What a command prints, and its exit code."""
    with _own_signals():
        return CliRunner().invoke(main, arguments, input=stdin)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """A command that serves ends with signals ignored. Processes that later tests start would inherit that."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
