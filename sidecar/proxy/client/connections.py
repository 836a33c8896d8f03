"""All client connections of a worker: creates them, closes slow ones, and lets them finish when the worker shuts down."""

import asyncio
import ipaddress
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Generic

from sidecar.core.capacity import refused_beyond
from sidecar.core.causes import Fault
from sidecar.core.events import Decision, RequestDone
from sidecar.core.http.forwarded import ForwardedFields
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.limits import ClientRules
from sidecar.proxy.memory import MemoryBudget
from sidecar.proxy.ports import ClientLink, E, Reporting, RequestHandler, RequestInProgress, RequestToAnswer
from sidecar.proxy.request import Body, Message

_MOST_PEERS: Final = 1024

ExchangeFactory = Callable[[ClientLink, Message, Body, float], E]
"""Creates the exchange for a request on a connection; the last argument is the time in monotonic seconds."""


class ClientConnections(Generic[E]):
    """`expect` creates the protocol object of a new connection; `arriving` are the connections that have no transport yet.
    `new_exchange` creates the exchanges that `handler` handles."""

    def __init__(
        self,
        handler: RequestHandler[E],
        new_exchange: ExchangeFactory[E],
        services: Reporting,
        *,
        loop: asyncio.AbstractEventLoop,
        rules: ClientRules,
    ) -> None:
        self.loop = loop
        self.timeouts = rules.timeouts
        self.limits = rules.limits
        self.monotonic: Callable[[], float] = services.monotonic
        self.draining = False
        self.in_flight = 0
        self.waiting = 0  # requests whose body has to be read before they are processed
        self.memory: MemoryBudget[ClientConnection] = MemoryBudget(
            rules.limits.memory,
            rules.limits.each_connection,
            connections=lambda: self.present,
            refuse=partial(self._guard, work=ClientConnection.give_up),
        )
        self.connections: set[ClientConnection] = set()
        self.arriving: set[ClientConnection] = set()
        self.handler = handler
        self.log_failure = services.log_failure
        self._rules = rules
        self._is_trusted = lru_cache(_MOST_PEERS)(self._look_up)
        self._described = lru_cache(_MOST_PEERS)(self._describe)
        self.use_services(new_exchange, services)

    def __repr__(self) -> str:
        return f"<ClientConnections {len(self.connections)} connections, {self.in_flight} requests>"

    def use_services(self, new_exchange: ExchangeFactory[E], services: Reporting) -> None:
        """Create the next exchanges with `new_exchange`."""
        self._new_exchange = new_exchange
        self._services = services

    def use(self, rules: ClientRules) -> None:
        """Apply these rules from now on, to the present connections as well. A connection that is reading a head or a body
        gets the new limits for its next request."""
        before, self._rules = self._rules, rules
        self.timeouts, self.limits = rules.timeouts, rules.limits
        self.memory.limit, self.memory.each = rules.limits.memory, rules.limits.each_connection
        if rules.trusted_proxies != before.trusted_proxies:
            self._is_trusted.cache_clear()
            self._described.cache_clear()
            for connection in list(self.connections):
                self._guard(connection, ClientConnection.describe)

    def expect(self, *, secure: bool) -> ClientConnection | None:
        """The protocol object for an accepted connection; `None` when there is no room for it.

        Some connections beyond the limit are taken in order to send them a refusal, but not over TLS: a handshake is
        expensive.
        """
        limit = self.limits.connections
        room = limit if secure else limit + refused_beyond(limit)
        if self.present >= room:
            return None
        connection = ClientConnection(self)
        self.arriving.add(connection)
        return connection

    def arrived(self, connection: ClientConnection) -> None:
        """An expected connection has been established, or has failed."""
        self.arriving.discard(connection)

    @property
    def present(self) -> int:
        """The number of connections, including those whose TLS handshake is in progress."""
        return len(self.connections) + len(self.arriving)

    def streams(self) -> int:
        """How many requests are event streams, or have bodies that have been flowing for a long time."""
        now = self.monotonic()
        exchanges = [connection.exchange for connection in self.connections]
        return sum(exchange is not None and exchange.flows_long(now) for exchange in exchanges)

    def trusts(self, peer: str) -> bool:
        """Whether the peer's `X-Forwarded-*` fields are trusted. The peer of a Unix socket is anyone who may open it."""
        if not self._rules.trusted_proxies:
            return False
        return self._is_trusted(peer)

    def _look_up(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._rules.trusted_proxies)

    def describe(self, peer: str, certificate: bytes | None) -> ForwardedFields:
        """The fields that describe a client to the API; `certificate` is `None` without TLS, and empty if it showed none.
        Clients with the same description share it."""
        return self._described(peer, certificate)

    def _describe(self, peer: str, certificate: bytes | None) -> ForwardedFields:
        scheme = "http" if certificate is None else "https"
        return ForwardedFields(peer, scheme, trusted=self.trusts(peer), certificate=certificate or b"")

    @property
    def crowded(self) -> bool:
        """Whether there are more connections than the limit."""
        return len(self.connections) > self.limits.connections

    def opened(self, connection: ClientConnection) -> None:
        """A connection is established and can carry requests."""
        self.arriving.discard(connection)
        self.connections.add(connection)

    def closed(self, connection: ClientConnection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)

    def start_exchange(
        self, connection: ClientConnection, message: Message, payload: Body, now: float
    ) -> RequestInProgress | None:
        """Start handling a request; `None` when it has already ended. `now` is in monotonic seconds."""
        self.in_flight += 1
        exchange = connection.exchange = self._new_exchange(connection, message, payload, now)
        if self.in_flight > self.limits.in_flight:
            self.handler.turn_away(exchange)
        else:
            self.handler.handle(exchange)
        return connection.exchange

    def exchange_ended(self, exchange: RequestToAnswer) -> None:
        """A request has ended."""
        if exchange.waiting:
            self.waiting -= 1
        else:
            self.in_flight -= 1

    def begin_waiting(self, exchange: RequestToAnswer) -> None:
        """A request waits for its own body, which an unauthenticated client may never send, so it does not count as in
        flight. Raises `Refused` when the number of waiting requests has reached the limit for requests in flight."""
        if self.waiting >= self.limits.in_flight:
            raise Refused(Reason.OVERLOADED)
        self._wait(exchange, waiting=True)

    def end_waiting(self, exchange: RequestToAnswer) -> None:
        """The wait for the body is over. Raises `Refused` when too many requests are in flight."""
        if not exchange.ended:
            self._wait(exchange, waiting=False)
            if self.in_flight > self.limits.in_flight:
                raise Refused(Reason.OVERLOADED)

    def _wait(self, exchange: RequestToAnswer, *, waiting: bool) -> None:
        exchange.waiting = waiting
        self.waiting += 1 if waiting else -1
        self.in_flight += -1 if waiting else 1

    def apply_compat(self, reply: Reply) -> Reply:
        """Adapt a reply of the sidecar to what the callers of this API expect."""
        return self._services.apply_compat(reply)

    def report_unparsed(self, connection: ClientConnection, reason: Reason, fault: Fault | None = None) -> None:
        """Report a request that was refused before it could be parsed; `fault` is the cause, if known."""
        event = RequestDone(Decision.REFUSED, reason.status, 0.0, None, reason, "-", "-", None, connection.peer, fault)
        self._services.report(event)

    def check(self, now: float) -> None:
        """Close the connections of slow clients, end streams whose token is no longer valid, and see what is held. To be called
        about once a second."""
        check = partial(self._check_one, now=now)
        for connection in list(self.connections):
            self._guard(connection, check)
        self.memory.relieve()

    def _check_one(self, connection: ClientConnection, *, now: float) -> None:
        connection.check(now)
        exchange = connection.exchange
        if exchange is not None and exchange.verified is not None and exchange.streaming and self._rules.end_with_token:
            reason = self.handler.recheck(exchange)
            if reason is not None:
                exchange.end_early(reason)

    def _guard(self, connection: ClientConnection, work: Callable[[ClientConnection], None]) -> None:
        """Run `work`; its failure closes this connection and never affects the others."""
        try:
            work(connection)
        except Exception as exc:  # noqa: BLE001  a defect of the sidecar
            self.log_failure("connection", exc)
            connection.abort()

    async def drain(self, seconds: float) -> int:
        """Wait at most `seconds` for requests to finish, responses to be delivered and requests on their way to arrive; idle
        connections are closed. Returns the number of requests that were cut."""
        self.draining = True
        deadline = self.monotonic() + seconds
        for connection in list(self.connections):
            self._guard(connection, self._leave_tunnel)
        while (busy := self._busy()) and self.monotonic() < deadline:  # noqa: ASYNC110  once in a worker's lifetime
            await asyncio.sleep(0.02)
        unfinished = {connection for connection in busy if connection.unfinished}
        for connection in list(self.connections):
            self._guard(connection, partial(ClientConnection.abort, reset=connection in unfinished))
        return len(unfinished)

    def _busy(self) -> set[ClientConnection]:
        """Close idle connections, and return those that stay open for now."""
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
