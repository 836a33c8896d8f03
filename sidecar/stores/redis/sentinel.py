"""Finds the primary of a service by asking its sentinels.

Rules:
- Each new connection asks. Connections that are opened at the same moment share one answer.
- All sentinels are asked at once. The primary is the one that most of them name: a sentinel that is cut off from the others may
  still name the previous one. When too few answer for a majority, the answers that came decide after half of the timeout.
- The server that was found is asked for its role. A primary that was demoted later refuses writes, and the connections to it
  are not used again. Some primaries are not demoted for a while, because a network or an order separates them from their
  sentinels. So each heartbeat asks the sentinels too, and their primary is used from then on.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host, read_store_address
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.searching import ask_all

_SHARED: Final = 0.1  # seconds for which an answer, or a failure, is not asked for again


def primary_server(url: str, *, timeout: float, renewed: Callable[[], str] | None = None) -> Server:
    """The server that is the primary of the service in `url`, whichever that is. `timeout` is in seconds; `renewed` returns the
    current address after a password was refused. Raises `ValueError` for an address that cannot be parsed."""
    address = read_store_address(url)
    sentinels = Sentinels(url, timeout=timeout, renewed=renewed)

    def current() -> str:
        return read_store_address(renewed() if renewed else url).at(address.hosts[0]).url

    return Server(address.at(address.hosts[0]).url, timeout=timeout, renewed=current, route=sentinels)


class Sentinels:
    """The `Route` to the primary of the service that `url` names. `timeout` is in seconds; `renewed` returns the current
    address after a sentinel refused the password."""

    checks_role = True

    def __init__(self, url: str, *, timeout: float, renewed: Callable[[], str] | None = None) -> None:
        address = read_store_address(url)
        self._service = address.service
        self._hosts = address.hosts
        self._patience = timeout / 2

        def current(host: Host) -> str:
            return read_store_address(renewed() if renewed else url).of_sentinel(host).url

        self._sentinels = [
            Server(address.of_sentinel(host).url, timeout=timeout, renewed=partial(current, host), at_once=1)
            for host in address.hosts
        ]
        self._lock = asyncio.Lock()
        self._asked_at = -float("inf")
        self._found: Host | StoreUnavailable = StoreUnavailable("not asked yet")

    def __repr__(self) -> str:
        return f"<Sentinels {self._service} {self._found}>"

    async def find(self) -> Host:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at > _SHARED:
                self._found = await self._ask()
                self._asked_at = asyncio.get_running_loop().time()
        if isinstance(self._found, StoreUnavailable):
            raise StoreUnavailable(str(self._found))
        return self._found

    def doubt(self, host: Host) -> None:
        pass  # nothing is remembered for longer than a moment

    def moved(self, to: Host | None) -> bool:  # noqa: ARG002  only a Cluster says so
        self._asked_at = -float("inf")
        return True

    async def opinions(self) -> dict[Host, Host | StoreUnavailable | None]:
        """What each sentinel names as the primary: `None` when it does not know the service, `StoreUnavailable` when it does
        not answer."""
        asked = (self._named_by(server) for server in self._sentinels)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailable):
                raise answer
        return dict(zip(self._hosts, answers, strict=True))  # type: ignore[arg-type]  # others were raised

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        for server in self._sentinels:
            await server.close()

    async def _ask(self) -> Host | StoreUnavailable:
        most = len(self._sentinels) // 2 + 1
        named, faults = await ask_all(
            [self._named_by(server) for server in self._sentinels],
            lambda answers: _votes(answers)[1] >= most,
            self._patience,
        )
        host, _ = _votes(named)
        if host is not None:
            return host
        if named:
            return StoreUnavailable(f"the sentinels know no primary of {self._service}")
        return StoreUnavailable("no sentinel answers: " + "; ".join(sorted(map(str, faults))))

    async def _named_by(self, server: Server) -> Host | None:
        answer = await server.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        try:
            return None if answer is None else Host(answer[0].decode(), int(answer[1]))
        except (ValueError, TypeError, LookupError, AttributeError):
            raise StoreUnavailable("the sentinel's answer cannot be read") from None


def _votes(answers: list[Host | None]) -> tuple[Host | None, int]:
    """The server that most answers name, and how many do."""
    counted = Counter(host for host in answers if host is not None).most_common(1)
    return counted[0] if counted else (None, 0)
