"""What an operator wants to know about a Redis server: for `sidecar doctor`."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.scripts import PROBE

LEAST_VERSION: Final = (6, 2)
_PROBE_SECONDS: Final = "1"
_LOOK: Final = (
    "correct host and port in store.url, or see whether a firewall is between (redis-cli -h HOST -p PORT PING)"
)
_REMEDIES: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((AuthenticationError,), "correct name and password in store.url; special characters are percent-encoded (@ is %40)"),
    ((NoPermissionError,), "give the user of store.url the rights that docs/guarantees.md lists (ACL SETUSER)"),
    ((BusyLoadingError,), "wait until Redis has loaded its data (INFO persistence shows how far it is)"),
    ((ReadOnlyError,), "name the primary in store.url, or use redis+sentinel://"),
    ((OutOfMemoryError,), "raise maxmemory of Redis, and keep maxmemory-policy noeviction"),
    ((ClusterDownError,), "see redis-cli CLUSTER INFO: every slot needs a node that runs"),
    ((MovedError, AskError, TryAgainError), "write redis+cluster:// in store.url"),
    ((ssl.SSLCertVerificationError,), "name the CA in ssl_ca_certs of store.url, and a host that the certificate is for"),
    ((ssl.SSLError,), "write redis:// in store.url if Redis speaks no TLS at this port; else see ssl_certfile there"),
    ((RedisTimeoutError, TimeoutError), _LOOK),
    ((socket.gaierror,), "correct the host in store.url, or the name servers of this machine (getent hosts NAME)"),
    ((FileNotFoundError,), "correct the path in store.url, or start Redis"),
    ((PermissionError,), "give the sidecar's user rights for the socket or file that store.url names"),
    ((ConnectionRefusedError,), "start Redis, or correct host and port in store.url"),
    ((ConnectionResetError,), "see the log of Redis; write rediss:// in store.url if Redis speaks TLS at this port"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What one server says. `place` is host and port, or a path. `refused` are commands that are needed and that the user may
    not run: when there are any, only the certificate (in DER form) is known besides. `round_trip` is in seconds; `skew` is by
    how many seconds its clock is ahead. `info` is the parsed answer to INFO, empty if the user may not run it.
    `fault_of_writes` says why the server takes no writes. `entries` counts the revocations that it keeps."""

    place: str
    round_trip: float = 0.0
    skew: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    fault_of_writes: StoreUnavailable | None = None
    entries: int = 0
    certificate: bytes = b""

    @property
    def version(self) -> str:
        """Such as `7.0.15`; empty if it is unknown."""
        return str(self.info.get("redis_version", ""))

    @property
    def too_old(self) -> bool:
        """Whether the version is known, and lower than what the sidecar needs."""
        numbers = tuple(int(each) for each in self.version.split(".")[:2] if each.isdigit())
        return len(numbers) == 2 and numbers < LEAST_VERSION


async def inspect(server: Server, prefix: str, *, clock: Callable[[], float]) -> Inspection:
    """Ask a server, or the partition with this prefix. `clock` gives epoch seconds. Raises `StoreUnavailable` when nothing can
    be learned."""
    certificate = await server.certificate()  # opens the connection
    answer = await server.run(server.script(PROBE)({"key": f"{prefix}:revoked:probe"}), again=True)
    refused = tuple(sorted(name.decode() for name in answer))
    if refused:
        return Inspection(place=server.place, refused=refused, certificate=certificate)
    before, began = clock(), time.monotonic()
    seconds, microseconds = await server.ask("TIME")
    round_trip = time.monotonic() - began
    info: Mapping[str, Any] = {}
    with suppress(StoreUnavailable):  # INFO may be forbidden
        info = await server.run(server.redis.info, again=True)
    return Inspection(
        place=server.place,
        round_trip=round_trip,
        skew=int(seconds) + int(microseconds) / 1e6 - (before + round_trip / 2),
        info=info,
        fault_of_writes=await _fault_of_writes(server, prefix),
        entries=int(await server.ask("ZCARD", f"{prefix}:revoked")),
        certificate=certificate,
    )


async def speaks_no_tls(host: Host, patience: float) -> bool:
    """Whether a Redis server without TLS is there. It waits in silence for the rest of a TLS handshake, so that no other fault
    tells. `patience` is in seconds."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(*host)
            try:
                writer.write(b"PING\r\n")
                return (await reader.read(1)) in (b"+", b"-")  # PONG, or an error such as NOAUTH
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


async def _fault_of_writes(server: Server, prefix: str) -> StoreUnavailable | None:
    try:
        await server.ask("SET", f"{prefix}:revoked:probe", "1", "EX", _PROBE_SECONDS)
    except StoreUnavailable as exc:
        return exc
    return None


def remedy_of(fault: StoreUnavailable) -> str:
    """What an operator can do about a fault."""
    error: BaseException | None = fault
    for _ in range(6):
        if error is None:
            break
        for kinds, remedy in _REMEDIES:
            if isinstance(error, kinds):
                return remedy
        if isinstance(error, ResponseError):
            return _of_refusal(str(error))
        error = error.__cause__ or error.__context__
    return _LOOK


def _of_refusal(words: str) -> str:
    if words.startswith("MISCONF"):
        return "see the log of Redis: it cannot save to its disk"
    if words.startswith("NOREPLICAS"):
        return "see why the replicas are away, or lower min-replicas-to-write of Redis"
    return "see what Redis says, and its log"
