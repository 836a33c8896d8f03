"""The state that outlives a request: `memory://` for one process, Redis for many. Both implement `core.ports.Store`."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from sidecar.core.events import EventHandler
from sidecar.core.ports import Store
from sidecar.stores.memory import MemoryStore
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.store import RedisStore

_BEATS: Final = 8  # heartbeats per `max_staleness`; after a loss the view is not confirmed for some of them
_LONGEST_INTERVAL: Final = 1.0  # seconds between two heartbeats; after a loss a process waits for a multiple of it


def open_store(
    url: str,
    *,
    prefix: str,
    timeout: float,
    max_staleness: float,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    emit: EventHandler,
    renewed: Callable[[], str] | None = None,
) -> Store:
    """The store that `url` names; nothing is connected yet. Raises `ValueError` for an address that cannot be parsed.

    `prefix` begins every key in Redis; `timeout` (seconds) limits every command; `clock` gives epoch seconds; `renewed`
    returns the current address after its password was refused.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore(clock=clock, emit=emit)
    if scheme in ("redis", "rediss", "unix"):
        return RedisStore(
            Server(url, timeout=timeout, renewed=renewed),
            prefix=prefix,
            interval=min(max_staleness / _BEATS, _LONGEST_INTERVAL),
            clock=clock,
            monotonic=monotonic,
            emit=emit,
        )
    raise ValueError("write memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///path/to/redis.sock")
