"""Turns every exception of redis-py into `StoreUnavailable`, whose text names the server, the fault and Redis' own words."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from sidecar.core.ports import StoreUnavailable

_FAULTS: Final[dict[type[BaseException], str]] = {
    AuthenticationError: "the server refuses the name or password",
    NoPermissionError: "the user may not run the commands that are needed",
    ReadOnlyError: "the server is a read-only replica",
    OutOfMemoryError: "the server is out of memory",
    BusyLoadingError: "the server is loading its data",
    ClusterDownError: "the Cluster is down",
    MovedError: "the server is a node of a Cluster and does not have this slot",
    AskError: "a slot of the Cluster is being moved",
    TryAgainError: "a slot of the Cluster is being moved",
    ssl.SSLCertVerificationError: "the server's certificate is not trusted",
    RedisTimeoutError: "no answer in time",
    TimeoutError: "no answer in time",
    ResponseError: "the server refuses the command",
}
_MOST_WORDS: Final = 200
# What redis-py and Redis quote of a command, whose arguments are names of tokens; and the place in a script.
_QUOTED: Final = re.compile(
    r"^Command # \d+ \(.*\) of pipeline caused error: |,? with args beginning with.*|\s*script: [0-9a-f]{40}.*",
    re.DOTALL,
)


class NotPrimary(RedisError):
    """The server that was named as primary says that it is a replica."""


@asynccontextmanager
async def translated(where: Callable[[], str]) -> AsyncIterator[None]:
    """Turn any exception of redis-py into `StoreUnavailable`. `where` names the server, without a password. Only calls of
    redis-py belong inside.

    Before redis-py uses a pooled connection, it checks whether the connection is readable, under `asyncio.timeout(0)`. It
    mistakes a cancellation at that moment for the timeout and loses it, so this function checks for a cancellation.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        yield
    except Exception as exc:  # the exceptions of a client library on a lost transport cannot be enumerated
        raise StoreUnavailable(describe(exc, where())) from exc
    finally:
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError


def lost(exc: Exception) -> bool:
    """Whether an established connection was lost. uvloop reports this to later writers as a `RuntimeError`."""
    if isinstance(exc, RuntimeError):
        return True
    reset = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, type(None))
    return type(exc) is RedisConnectionError and isinstance(exc.__context__, reset)


def describe(exc: BaseException, where: str) -> str:
    """The text for an exception at the server `where`, such as `10.0.0.5:6379: no connection (Connection refused)`."""
    chain = list(_chain(exc))
    for error in chain:
        if isinstance(error, StoreUnavailable):
            return str(error)  # of a search for the server
    text = _fault(chain)
    words = _words(chain)
    return f"{where}: {text}{f' ({words})' if words and words not in text else ''}"


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    # redis-py raises its ConnectionError while it handles the socket's exception.
    for _ in range(5):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__ or exc.__context__


def _fault(chain: list[BaseException]) -> str:
    for error in chain:
        if isinstance(error, NotPrimary):
            return str(error)
        for kind, text in _FAULTS.items():
            if isinstance(error, kind):
                return text
    known = isinstance(chain[0], (RedisError, OSError))
    return "no connection" if known else f"the connection failed ({type(chain[0]).__name__})"


def _strerror(error: OSError) -> str:
    """The system's words. asyncio puts its own in their place (`Connect call failed`) and keeps the number."""
    if error.errno and (type(error) is OSError or isinstance(error, ConnectionError)):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _words(chain: list[BaseException]) -> str:
    """What Redis or the system said, as one line without arguments of commands."""
    for error in chain:
        said = ""
        if isinstance(error, (ResponseError, AuthenticationError, BusyLoadingError)):
            said = f"{error.status_code or ''} {_QUOTED.sub('', str(error.args[0])) if error.args else ''}"
        elif isinstance(error, ssl.SSLCertVerificationError):
            said = error.verify_message
        elif isinstance(error, OSError) and not isinstance(error, TimeoutError):
            said = ": ".join(filter(None, (_strerror(error), error.filename)))
        if said:
            line = "".join(each if each.isprintable() else " " for each in said)
            return " ".join(line.split())[:_MOST_WORDS]
    return ""
