"""All client connections of a worker: makes them, watches the slow ones, lets them finish when the worker goes."""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.capacity import refused_beyond
from sidecar.core.causes import Fault
from sidecar.core.events import Decision, RequestDone
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.limits import ClientLimits, ClientTimeouts
from sidecar.proxy.ports import ClientLink, E, Reporting, RequestHandler, RequestInProgress, RequestToAnswer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ExchangeFactory = Callable[[ClientLink, RawRequestMessage, StreamReader, float], E]
"""Makes the exchange of a request that came on a connection, at a moment in monotonic seconds."""


class ClientConnections(Generic[E]):
    """`expect` makes the protocol object of a new connection; `arriving` are those without a transport yet.
    `new_exchange` makes what `handler` handles."""

    def __init__(
        self,
        handler: RequestHandler[E],
        new_exchange: ExchangeFactory[E],
        services: Reporting,
        *,
        loop: asyncio.AbstractEventLoop,
        timeouts: ClientTimeouts,
        limits: ClientLimits,
        trusted_proxies: Sequence[Network] = (),
        end_with_token: bool = True,
    ) -> None:
        self.loop = loop
        self.timeouts = timeouts
        self.limits = limits
        self.monotonic: Callable[[], float] = services.monotonic
        self.draining = False
        self.in_flight = 0
        self.waiting = 0  # requests whose body is read before anything is done
        self.connections: set[ClientConnection] = set()
        self.arriving: set[ClientConnection] = set()
        self._handler = handler
        self._new_exchange = new_exchange
        self._services = services
        self._trusted = trusted_proxies
        self._end_with_token = end_with_token
        self.log_failure = services.log_failure

    def __repr__(self) -> str:
        return f"<ClientConnections {len(self.connections)} connections, {self.in_flight} requests>"

    def expect(self, *, secure: bool) -> ClientConnection | None:
        """The protocol object for a connection that was accepted; `None` when there is no room for it.

        Beyond the limit there is room for some, to tell them so, but not over TLS: a handshake is no small work.
        """
        limit = self.limits.connections
        room = limit if secure else limit + refused_beyond(limit)
        if self.present >= room:
            return None
        connection = ClientConnection(self)
        self.arriving.add(connection)
        return connection

    def arrived(self, connection: ClientConnection) -> None:
        """An expected connection is there, or never will be."""
        self.arriving.discard(connection)

    @property
    def present(self) -> int:
        """How many connections there are, with those whose TLS handshake is going on."""
        return len(self.connections) + len(self.arriving)

    def trusts(self, peer: str) -> bool:
        """Whether the peer's `X-Forwarded-*` may be believed. A Unix socket's peer is whoever may open it."""
        if not self._trusted:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._trusted)

    @property
    def crowded(self) -> bool:
        """Whether there are more connections than we take on."""
        return len(self.connections) > self.limits.connections

    def opened(self, connection: ClientConnection) -> None:
        """A connection can be spoken on."""
        self.arriving.discard(connection)
        self.connections.add(connection)

    def closed(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)

    def start_exchange(
        self, connection: ClientConnection, message: RawRequestMessage, payload: StreamReader, now: float
    ) -> RequestInProgress | None:
        """Begin to handle a request; `None` when it is over already. `now` in monotonic seconds."""
        self.in_flight += 1
        exchange = connection.exchange = self._new_exchange(connection, message, payload, now)
        if self.in_flight > self.limits.in_flight:
            self._handler.turn_away(exchange)
        else:
            self._handler.handle(exchange)
        return connection.exchange

    def exchange_ended(self, exchange: RequestToAnswer) -> None:
        """A request was answered."""
        if exchange.waiting:
            self.waiting -= 1
        else:
            self.in_flight -= 1

    def begin_waiting(self, exchange: RequestToAnswer) -> None:
        """A request waits for its own body, which a stranger may never send: it takes no place of those that can be
        answered. Raises `Refused` when as many are waiting as may be answered."""
        if self.waiting >= self.limits.in_flight:
            raise Refused(Reason.OVERLOADED)
        self._wait(exchange, waiting=True)

    def end_waiting(self, exchange: RequestToAnswer) -> None:
        """The body is there, or will never be. Raises `Refused` when there is no place."""
        if not exchange.ended:
            self._wait(exchange, waiting=False)
            if self.in_flight > self.limits.in_flight:
                raise Refused(Reason.OVERLOADED)

    def _wait(self, exchange: RequestToAnswer, *, waiting: bool) -> None:
        exchange.waiting = waiting
        self.waiting += 1 if waiting else -1
        self.in_flight += -1 if waiting else 1

    def apply_compat(self, reply: Reply) -> Reply:
        """A reply of ours as those expect it who call this API."""
        return self._services.apply_compat(reply)

    def report_unparsed(self, connection: ClientConnection, reason: Reason, fault: Fault | None = None) -> None:
        """A request was refused before it could be read; `fault` says why, as far as that is known."""
        event = RequestDone(Decision.REFUSED, reason.status, 0.0, None, reason, "-", "-", None, connection.peer, fault)
        self._services.report(event)

    def check(self, now: float) -> None:
        """Close the connections of clients that are too slow, and end what outlived its token; to be called about once a
        second."""
        check = partial(self._check_one, now=now)
        for connection in list(self.connections):
            self._guard(connection, check)

    def _check_one(self, connection: ClientConnection, *, now: float) -> None:
        connection.check(now)
        exchange = connection.exchange
        if exchange is not None and exchange.verified is not None and exchange.streaming and self._end_with_token:
            reason = self._handler.recheck(exchange)
            if reason is not None:
                exchange.end_early(reason)

    def _guard(self, connection: ClientConnection, work: Callable[[ClientConnection], None]) -> None:
        """What goes wrong with one connection ends that one, and never the work on the others."""
        try:
            work(connection)
        except Exception as exc:  # noqa: BLE001  a defect of ours
            self.log_failure("connection", exc)
            connection.abort()

    async def drain(self, seconds: float) -> int:
        """Let requests finish and responses be delivered, and let come what is on its way, at most for `seconds`; idle
        connections close. Returns how many requests were cut."""
        self.draining = True
        deadline = self.monotonic() + seconds
        for connection in list(self.connections):
            self._guard(connection, self._leave_tunnel)
        while (busy := self._busy()) and self.monotonic() < deadline:  # noqa: ASYNC110  once in a worker's life
            await asyncio.sleep(0.02)
        unfinished = {connection for connection in busy if connection.unfinished}
        for connection in list(self.connections):
            self._guard(connection, partial(ClientConnection.abort, reset=connection in unfinished))
        return len(unfinished)

    def _busy(self) -> set[ClientConnection]:
        """Send away whoever is idle; gives who stays for now."""
        now, staying = self.monotonic(), set(self.arriving)

        def look(connection: ClientConnection) -> None:
            if connection.stays(now):
                staying.add(connection)

        for connection in list(self.connections):
            self._guard(connection, look)
        return staying

    def _leave_tunnel(self, connection: ClientConnection) -> None:
        if connection.tunnel is not None:
            connection.tunnel.leave(self.monotonic())
