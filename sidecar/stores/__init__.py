"""The state that outlives a request: `memory://` for one process, Redis for many. Both implement `core.ports.Store`."""

from collections.abc import Callable
from typing import Final

from sidecar.core.events import EventHandler
from sidecar.core.partitions import hash_tag, partition_prefixes, slot_of
from sidecar.core.ports import Store
from sidecar.core.store_address import Topology, read_store_address
from sidecar.stores.memory import MemoryStore
from sidecar.stores.redis.cluster import Cluster
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.partitioned import PartitionedStore, PartitionEvents, record_of
from sidecar.stores.redis.sentinel import primary_server
from sidecar.stores.redis.store import RedisStore

_BEATS: Final = 8  # heartbeats per `max_staleness`; after a loss the view is not confirmed for some of them
_LONGEST_INTERVAL: Final = 1.0  # seconds between two heartbeats; after a loss a process waits for a multiple of it


def open_store(
    url: str,
    *,
    prefix: str,
    partitions: int = 16,
    timeout: float,
    max_staleness: float,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    emit: EventHandler,
    renewed: Callable[[], str] | None = None,
) -> Store:
    """The store that `url` names (`core.store_address`); nothing is connected yet. Raises `ValueError` for an address that
    cannot be parsed.

    `prefix` begins every key in Redis; with a Cluster it needs a hash tag, and the state is spread over so many `partitions`.
    `timeout` (seconds) limits every command; `clock` gives epoch seconds; `renewed` returns the current address after its
    password was refused.
    """
    address = read_store_address(url)
    if address.topology is Topology.MEMORY:
        return MemoryStore(clock=clock, emit=emit, monotonic=monotonic)

    def on(server: Server, prefix: str, emit: EventHandler) -> RedisStore:
        interval = min(max_staleness / _BEATS, _LONGEST_INTERVAL)
        return RedisStore(server, prefix=prefix, interval=interval, clock=clock, monotonic=monotonic, emit=emit)

    if address.topology is not Topology.CLUSTER:
        connect = primary_server if address.topology is Topology.SENTINEL else Server
        return on(connect(url, timeout=timeout, renewed=renewed), prefix, emit)
    cluster = Cluster(url, timeout=timeout, renewed=renewed)
    events = PartitionEvents(partitions, monotonic=monotonic, emit=emit)
    stores = []
    for place, each in enumerate(partition_prefixes(prefix, partitions)):
        server = cluster.server(slot_of(hash_tag(each) or ""))
        server.require(record_of(server, each, partitions))
        stores.append(on(server, each, events.of(place)))
    return PartitionedStore(stores, events)
