"""Where the server of a new connection is."""

from typing import Final, Protocol

from sidecar.core.store_address import Host

ROUND_TRIPS: Final = 6
"""To open a connection: TCP, TLS twice, AUTH, CLIENT SETNAME, SELECT."""


class Route(Protocol):
    """Finds the server that a new connection is for."""

    checks_role: bool
    """Whether a new connection has to ask the server whether it is a primary, since nothing else would tell."""

    async def find(self) -> Host:
        """The server. Raises `StoreUnavailable`, whose text names those that were asked."""

    def doubt(self, host: Host) -> None:
        """A connection to this server failed or was lost, so it may be another one now."""

    def moved(self, to: Host | None) -> bool:
        """The server answered that it is not the right one, and which one is, if it knows. Returns whether there may be
        another one."""

    async def close(self) -> None:
        """Close the connections that serve the search. Idempotent."""


class FixedRoute:
    """A `Route` to one server."""

    checks_role = False

    def __init__(self, host: Host) -> None:
        self._host = host

    async def find(self) -> Host:
        return self._host

    def doubt(self, host: Host) -> None:
        pass

    def moved(self, to: Host | None) -> bool:  # noqa: ARG002  there is one server
        return False

    async def close(self) -> None:
        pass


class FollowedRoute:
    """A `Route` that remembers what it found last. `patience` is how many times the timeout of a command a connection may take
    to be opened. A server that hangs has a successor soon, so the first attempt has little time. Each one that came to nothing
    doubles it, because the server may just be far away."""

    def __init__(self, route: Route, first: Host) -> None:
        self._route = route
        self.last = first
        self.checks_role = route.checks_role
        self._least = ROUND_TRIPS if isinstance(route, FixedRoute) else 1
        self.patience = self._least

    def __str__(self) -> str:
        return str(self.last)

    async def find(self) -> Host:
        found = await self._route.find()
        if found != self.last:
            self.last, self.patience = found, self._least
        return found

    def late(self) -> None:
        """An attempt took too long."""
        self.patience = min(2 * self.patience, ROUND_TRIPS)

    def doubt(self, host: Host | None = None) -> None:
        self._route.doubt(host or self.last)

    def moved(self, to: Host | None) -> bool:
        return self._route.moved(to)

    async def close(self) -> None:
        await self._route.close()
