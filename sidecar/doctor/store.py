"""The store: Redis, the sentinels that name the primary, or the nodes of a Cluster.

Every server is asked by the connections that the sidecar uses, and in the same way. Each fault has the text of the log.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from cryptography import x509

from sidecar.config.settings import Settings
from sidecar.config.settings import Store as StoreSettings
from sidecar.core.partitions import hash_tag, partition_prefixes, slot_of
from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host, StoreAddress, Topology, read_store_address
from sidecar.doctor.certificates import validity
from sidecar.doctor.findings import Finding, Status, bad, doubtful, good, skipped
from sidecar.stores.redis.cluster import Cluster
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.durability import risks_of_forgetting
from sidecar.stores.redis.inspection import Inspection, inspect, remedy_of, speaks_no_tls
from sidecar.stores.redis.sentinel import Sentinels, primary_server

_MOST_SKEW: Final = 2.0  # seconds, as for `clock_differs` in the log
_LEFT_OPEN: Final = ("store rights", "store writes", "store data", "store clock", "store revocations")
_TOLD: Final = 3  # different faults of partitions

Outcome = Inspection | StoreUnavailable


async def look(settings: Settings, *, now: float, patience: float) -> list[Finding]:
    """The store, of whichever kind. Each server has `patience` seconds."""
    store = settings.store
    url = store.url.get_secret_value()
    address = read_store_address(url)
    match address.topology:
        case Topology.MEMORY:
            note = "in the memory of the process: revocations, refresh tokens and logins end with it"
            return [good("store", f"memory://, {note}; only one worker can use it")]
        case Topology.SENTINEL:
            primary, findings = await asyncio.gather(
                _inspected(primary_server(url, timeout=patience), store.prefix),
                _sentinels(url, address, patience),
            )
            return [*findings, *of_servers([primary], store, now)]
        case Topology.CLUSTER:
            return await _cluster(url, store, now, patience)
        case _:
            findings = of_servers([await _inspected(Server(url, timeout=patience), store.prefix)], store, now)
            return [*findings, *await _without_tls(address, findings, patience)]


async def _without_tls(address: StoreAddress, findings: Iterable[Finding], patience: float) -> list[Finding]:
    """When a server could not be reached with TLS: whether it is because there is none."""
    failed = any(each.check == "store" and each.status is Status.FAILED for each in findings)
    if not failed or not address.tls or not await speaks_no_tls(address.hosts[0], patience / 4):
        return []
    return [
        bad(
            "store TLS",
            f"{address.hosts[0]} speaks no TLS",
            "write redis:// in store.url, or the port where Redis speaks TLS",
        )
    ]


async def _inspected(server: Server, prefix: str) -> Outcome:
    try:
        return await inspect(server, prefix, clock=time.time)
    except StoreUnavailable as exc:
        return exc
    finally:
        await server.close()


# What the servers said.


def of_servers(outcomes: Sequence[Outcome], store: StoreSettings, now: float) -> list[Finding]:
    """The findings about one server, or about those of all partitions."""
    seen = [each for each in outcomes if isinstance(each, Inspection)]
    findings = list(_unreachable(outcomes))
    servers = {each.place: each for each in seen}
    for server in servers.values():
        findings += _server(server, store.timeout)
        findings += _certificate(server, now)
    if not seen:
        return findings + [skipped(check, "Redis was not reached") for check in _LEFT_OPEN]
    findings += _rights(servers.values())
    known = [each for each in servers.values() if not each.refused]
    if not known:
        return findings + [skipped(check, "rights are missing") for check in _LEFT_OPEN[1:]]
    findings += [*_writes(known), *_data(known), _clock(known)]
    findings.append(good("store revocations", f"{sum(each.entries for each in seen)} kept in Redis"))
    return findings


def _unreachable(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    faults = [each for each in outcomes if isinstance(each, StoreUnavailable)]
    counted = Counter(map(str, faults))
    for text, count in counted.most_common(_TOLD):
        fault = next(each for each in faults if str(each) == text)
        of = f" ({count} of {len(outcomes)} partitions)" if len(outcomes) > 1 else ""
        yield bad("store", f"{text}{of}", remedy_of(fault))


def _server(server: Inspection, timeout: float) -> Iterator[Finding]:
    if server.refused:
        yield good("store", f"{server.place} answers")
        return
    role = {"master": "primary", "slave": "replica"}.get(str(server.info.get("role")), "role unknown")
    took = f"{server.round_trip * 1000:.1f} ms"
    found = f"Redis {server.version or 'of an unknown version'} at {server.place}, {role}, answers within {took}"
    if server.too_old:
        yield bad("store", found, "use Redis 6.2 or later")
    elif server.round_trip > timeout / 2:
        yield doubtful("store", found, f"raise store.timeout ({timeout:g} s), or bring Redis closer")
    else:
        yield good("store", found)


def _certificate(server: Inspection, now: float) -> Iterator[Finding]:
    if server.certificate:
        chain = [x509.load_der_x509_certificate(server.certificate)]
        yield validity(f"certificate of {server.place}", chain, now, "renew the certificate of Redis")


def _rights(servers: Iterable[Inspection]) -> Iterator[Finding]:
    lacking = sorted({name for server in servers for name in server.refused})
    if lacking:
        found = f"the user may not run: {', '.join(lacking)}"
        remedy = f"ACL SETUSER USER {' '.join(f'+{name}' for name in lacking)}; docs/guarantees.md lists all rights"
        yield bad("store rights", found, remedy)
    else:
        yield good("store rights", "all commands that are needed are allowed")


def _writes(servers: Iterable[Inspection]) -> Iterator[Finding]:
    faults = {str(each.fault_of_writes): each.fault_of_writes for each in servers if each.fault_of_writes is not None}
    for text, fault in faults.items():
        yield bad("store writes", f"nothing can be revoked: {text}", remedy_of(fault))
    if not faults:
        yield good("store writes", "Redis takes writes")


def _data(servers: Sequence[Inspection]) -> Iterator[Finding]:
    check = "store data"
    known = [each for each in servers if each.info]
    if len(known) < len(servers):
        yield skipped(check, "the user may not run INFO, so persistence and maxmemory-policy are unknown (+info)")
    risks: dict[tuple[str, str], list[str]] = {}
    for server in known:
        for risk in risks_of_forgetting(server.info):
            risks.setdefault(risk, []).append(server.place)
    for (reason, remedy), places in risks.items():
        yield doubtful(check, f"{', '.join(places)}: {reason}", remedy)
    if known and not risks:
        policies = sorted({str(each.info.get("maxmemory_policy", "unknown")) for each in known})
        replicas = sum(int(each.info.get("connected_slaves", 0)) for each in known)
        kept = "append-only file" if all(each.info.get("aof_enabled") for each in known) else "no append-only file"
        yield good(check, f"maxmemory-policy {', '.join(policies)}, {kept}, replicas: {replicas}")


def _clock(servers: Iterable[Inspection]) -> Finding:
    skew, place = max(((each.skew, each.place) for each in servers), key=lambda pair: abs(pair[0]))
    found = f"that of {place} is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > _MOST_SKEW:
        return doubtful("store clock", found, "set the clocks of both machines (timedatectl set-ntp true)")
    return good("store clock", found)


# Sentinel.


async def _sentinels(url: str, address: StoreAddress, patience: float) -> list[Finding]:
    sentinels = Sentinels(url, timeout=patience)
    try:
        return [of_sentinels(await sentinels.opinions(), address.service)]
    finally:
        await sentinels.close()


def of_sentinels(opinions: Mapping[Host, Host | StoreUnavailable | None], service: str) -> Finding:
    """Whether enough sentinels answer, and name the same primary."""
    check, total = "store sentinels", len(opinions)
    faults = [each for each in opinions.values() if isinstance(each, StoreUnavailable)]
    named = Counter(each for each in opinions.values() if isinstance(each, Host))
    told = "; ".join(map(str, faults))
    if len(faults) == total:
        return bad(check, f"none of {total} answers: {told}", remedy_of(faults[0]))
    if not named:
        return bad(
            check,
            f"they know no primary of {service}",
            "correct the service in store.url (SENTINEL MASTERS lists them)",
        )
    primary, votes = named.most_common(1)[0]
    found = f"{votes} of {total} name {primary}"
    others = [
        f"{each} names {host or 'none'}" for each, host in opinions.items() if host != primary and host not in faults
    ]
    more = "; ".join(filter(None, (told, *others)))
    if votes <= total // 2:
        return bad(
            check,
            f"{found}, which is no majority: {more}",
            "start the sentinels that are away; a failover needs a majority",
        )
    if more:
        return doubtful(check, f"{found}; {more}", "start or correct the other sentinels; a failover needs a majority")
    return good(check, found)


# Cluster.


async def _cluster(url: str, store: StoreSettings, now: float, patience: float) -> list[Finding]:
    cluster = Cluster(url, timeout=patience)
    prefixes = partition_prefixes(store.prefix, store.partitions)
    parts = await asyncio.gather(*(_partition(cluster, prefix) for prefix in prefixes))
    outcomes = [outcome for outcome, _ in parts]
    numbers = [number for outcome, number in parts if isinstance(outcome, Inspection) and not outcome.refused]
    return [*of_servers(outcomes, store, now), of_partitions(numbers, store.partitions)]


async def _partition(cluster: Cluster, prefix: str) -> tuple[Outcome, str]:
    """What the primary of a partition says, and the number of partitions that is recorded there; empty if none is."""
    server = cluster.server(slot_of(hash_tag(prefix) or ""))
    try:
        outcome = await inspect(server, prefix, clock=time.time)
        recorded = None if outcome.refused else await server.ask("GET", f"{prefix}:partitions")
    except StoreUnavailable as exc:
        return exc, ""
    finally:
        await server.close()
    return outcome, recorded.decode(errors="replace")[:10] if recorded else ""


def of_partitions(recorded: Sequence[str], count: int) -> Finding:
    """Whether the numbers that are recorded in Redis are that of the configuration. Only those of partitions that answer are
    given."""
    check = "store partitions"
    others = sorted({each for each in recorded if each not in ("", str(count))})
    if others:
        found = f"the data in Redis has {' or '.join(others)} partitions, and store.partitions is {count}"
        return bad(check, found, f"set store.partitions to {others[0]}, or choose another store.prefix")
    if not recorded:
        return skipped(check, "no partition was reached")
    if len(recorded) < count:
        return bad(
            check,
            f"{len(recorded)} of {count} have a primary that answers",
            "see redis-cli CLUSTER INFO and CLUSTER SLOTS",
        )
    note = "" if all(recorded) else "; the number is recorded at the first start"
    return good(check, f"all {count} have a primary that answers{note}")
