"""What the parts of a worker count and measure themselves, as metrics (`ops.catalogue`)."""

from collections.abc import Iterable, Sized
from typing import Any

from sidecar.assembly.living import Living
from sidecar.core.jose.keys import KeyRing
from sidecar.core.ports import StoreCondition
from sidecar.ops.catalogue import key
from sidecar.ops.logs import lines_dropped
from sidecar.ops.snapshots import Numbers, Readings
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.upstream.pool import UpstreamPool


def together(*parts: Readings) -> Readings:
    """Readings of different metrics as one."""
    counters: Numbers = {}
    gauges: Numbers = {}
    for part in parts:
        counters |= part.counters
        gauges |= part.gauges
    return Readings(counters, gauges)


def of_clients(clients: ClientConnections[Any], tunnels: Sized, most_tunnels: int) -> Readings:
    """Client connections, requests and tunnels, each with its limit."""
    limits, memory = clients.limits, clients.memory
    gauges: dict[str, float] = {
        "in_flight_requests": clients.in_flight,
        "in_flight_requests_limit": limits.in_flight,
        "waiting_requests": clients.waiting,
        "connections": clients.present,
        "connections_limit": limits.connections,
        "tunnels": len(tunnels),
        "tunnels_limit": most_tunnels,
        "streams": clients.streams(),
        "memory_held_bytes": memory.held,
        "memory_limit_bytes": memory.limit,
    }
    return Readings({}, _single(gauges))


def of_upstreams(pool: UpstreamPool, retired: Iterable[UpstreamPool]) -> Readings:
    """The connections to the API, also of pools that were replaced and still carry exchanges, and what failed last."""
    states: dict[str, float] = {}
    for each in (pool, *retired):
        for state, count in each.states().items():
            states[state] = states.get(state, 0) + count
    faults = {each.url: each.fault for each in pool.health()}
    gauges: Numbers = {
        "sidecar_upstream_connections": states,
        "sidecar_upstream_connections_limit": {"": pool.limits.max_connections},
        "sidecar_upstream_up": {url: fault is None for url, fault in faults.items()},
        "sidecar_upstream_fault": {key(fault.cause.word, url): 1 for url, fault in faults.items() if fault is not None},
    }
    return Readings({}, gauges)


def of_store(condition: StoreCondition, *, up: bool, staleness: float, revocations: int) -> Readings:
    """The state of the store and of the view of revocations. `staleness` is in seconds."""
    gauges: dict[str, float] = {
        "store_up": up,
        "store_writable": not condition.fault_of_writes,
        "store_clock_skew_seconds": condition.skew,
        "store_unreadable_entries": condition.unreadable,
        "revocation_feed_staleness_seconds": staleness,
        "revocations": revocations,
    }
    return Readings({}, _single(gauges))


def of_living(parts: Living) -> Readings:
    """The token cache, the log, and the queues of slow hashes."""
    queues = {"client_secrets": parts.client_secrets, "passwords": parts.passwords}
    counters: Numbers = {
        "sidecar_token_cache_hits_total": {"": parts.lookups.hits},
        "sidecar_token_cache_misses_total": {"": parts.lookups.misses},
        "sidecar_log_lines_dropped_total": {"": lines_dropped()},
        "sidecar_slow_hashes_refused_total": {name: queue.refused for name, queue in queues.items()},
    }
    gauges: Numbers = {
        "sidecar_slow_hashes": {name: queue.waiting for name, queue in queues.items()},
        "sidecar_slow_hashes_limit": {name: queue.limit for name, queue in queues.items()},
    }
    return Readings(counters, gauges)


def of_keys(ring: KeyRing, expiries: dict[str, float], now: float) -> Readings:
    """The signing keys at `now` (epoch seconds), and when certificates expire."""
    signer = ring.signer(now)
    gauges: Numbers = {
        "sidecar_certificate_expiry_timestamp_seconds": expiries,
        "sidecar_signing_key_signs": {key(each.alg, each.kid): each is signer for each in ring},
        "sidecar_signing_key_not_before_timestamp_seconds": {
            each.kid: each.window.not_before for each in ring if each.window.not_before is not None
        },
        "sidecar_signing_key_not_after_timestamp_seconds": {
            each.kid: each.window.not_after for each in ring if each.window.not_after is not None
        },
        "sidecar_signing_keys_lapsed": {"": ring.lapsed(now)},
    }
    return Readings({}, gauges)


def _single(values: dict[str, float]) -> Numbers:
    """Metrics without labels."""
    return {f"sidecar_{name}": {"": value} for name, value in values.items()}
