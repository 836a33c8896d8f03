"""Finds the nodes of a Redis Cluster.

The parts of redis-py for a Cluster are not used: they share one time limit between commands and the search for nodes, retry on
their own, and check no connection before its use. Here each partition has a `connection.Server`, whose connections follow the
slot, under the rules of that module.

Rules:
- The map of slots is asked from nodes that are known, three at a time: those of the last map and those of the address.
- It is asked again when a connection to a node failed, was lost or got no answer, and when a node says that the Cluster is
  down or that the slot is being moved. A node that names another one for a slot (MOVED) is believed at once.
- All partitions share the map, and it is asked at most ten times a second.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host, StoreAddress, read_store_address
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.searching import ask_all

_SHARED: Final = 0.1  # seconds for which the map, or a failure to get one, is not asked for again
_ASKED: Final = 3  # nodes at a time
_AT_ONCE: Final = 8  # concurrent commands of a partition
_RENEWED_EVERY: Final = 1.0  # seconds between two looks at the configuration file, for all partitions together

Ranges = list[tuple[int, int, Host]]


class Cluster:
    """The Cluster at `url`. `timeout` is in seconds; `renewed` returns the current address after a password was refused. Raises
    `ValueError` for an address that cannot be parsed."""

    def __init__(self, url: str, *, timeout: float, renewed: Callable[[], str] | None = None) -> None:
        self._address = read_store_address(url)
        self._timeout = timeout
        self._renewed = renewed
        self._renewed_at = -float("inf")
        self._lock = asyncio.Lock()
        self._asked_at = -float("inf")
        self._fault = ""
        self._stale = True
        self._ranges: Ranges = []
        self._moved: dict[int, Host] = {}
        self._nodes: set[Host] = set()

    def __repr__(self) -> str:
        return f"<Cluster of {len(self._nodes)} nodes{', in doubt' if self._stale else ''}>"

    def server(self, slot: int) -> Server:
        """The server that has this slot, whichever node that is."""
        return self._server(self._address.hosts[0], _Slot(self, slot))

    def _server(self, host: Host, route: "_Slot | None" = None) -> Server:
        return Server(
            self._address.at(host).url,
            timeout=self._timeout,
            renewed=lambda: self._current().at(host).url,
            route=route,
            at_once=_AT_ONCE if route else 1,
        )

    def _current(self) -> StoreAddress:
        """The address as the configuration has it now."""
        now = asyncio.get_running_loop().time()
        if self._renewed is not None and now - self._renewed_at > _RENEWED_EVERY:
            self._address, self._renewed_at = read_store_address(self._renewed()), now
        return self._address

    async def primary(self, slot: int) -> Host:
        """The node that has this slot. Raises `StoreUnavailable`."""
        async with self._lock:
            if self._stale and asyncio.get_running_loop().time() - self._asked_at > _SHARED:
                await self._refresh()
                self._asked_at = asyncio.get_running_loop().time()
        found = self._holder(slot)
        if found is None:
            raise StoreUnavailable(self._fault or f"no node of the Cluster has slot {slot}")
        return found

    def _holder(self, slot: int) -> Host | None:
        if slot in self._moved:
            return self._moved[slot]
        return next((host for first, last, host in self._ranges if first <= slot <= last), None)

    def doubt(self, slot: int, host: Host) -> None:
        """A connection to `host` failed or was lost. Another partition may have noticed before, and the map be a newer one."""
        if self._holder(slot) in (host, None):
            self._stale = True

    def moved(self, slot: int, to: Host | None) -> None:
        """A node said that it does not have the slot, and which one has it, if it knows."""
        self._stale = True
        if to is not None:
            self._moved[slot] = to

    async def _refresh(self) -> None:
        nodes = [*self._nodes.union(self._address.hosts)]
        random.shuffle(nodes)  # any of them will do, and not always the same
        faults: list[StoreUnavailable] = []
        for start in range(0, len(nodes), _ASKED):
            asked = [self._map_of(host) for host in nodes[start : start + _ASKED]]
            maps, more = await ask_all(asked, bool, self._timeout)
            faults += more
            if maps:
                self._ranges, self._nodes = maps[0]
                self._moved, self._stale, self._fault = {}, False, ""
                return
        self._fault = "no node of the Cluster answers: " + "; ".join(sorted(map(str, faults)))

    async def _map_of(self, host: Host) -> tuple[Ranges, set[Host]]:
        server = self._server(host)
        try:
            answer = await server.ask("CLUSTER", "SLOTS")
        finally:
            await server.close()
        try:
            return _ranges(answer, host)
        except (ValueError, TypeError, LookupError, AttributeError):
            raise StoreUnavailable(f"{host}: the answer of the node cannot be read") from None


class _Slot:
    """The `route.Route` to the node that has a slot."""

    checks_role = False  # a replica answers MOVED

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot

    async def find(self) -> Host:
        return await self._cluster.primary(self._slot)

    def doubt(self, host: Host) -> None:
        self._cluster.doubt(self._slot, host)

    def moved(self, to: Host | None) -> bool:
        self._cluster.moved(self._slot, to)
        return True

    async def close(self) -> None:
        pass


def _ranges(answer: list[Any], asked: Host) -> tuple[Ranges, set[Host]]:
    """The ranges of slots with their primaries, and all nodes, from an answer to CLUSTER SLOTS. A node that does not know its
    own address is the one that was `asked`."""
    ranges: Ranges = []
    nodes: set[Host] = set()
    for first, last, *hosts in answer:
        found = [Host((name or b"").decode().strip("?") or asked.name, int(port)) for name, port, *_ in hosts]
        ranges.append((int(first), int(last), found[0]))
        nodes.update(found)
    return ranges, nodes
