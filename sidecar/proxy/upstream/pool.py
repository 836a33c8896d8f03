"""The connections to the API server, or to several servers of the same API.

Rules:
- Idle connections are reused, the most recent first, because it is the least likely to be stale. A connection that was idle
  for longer than the upstream may keep it is closed, not used. The time that an upstream announces (`Keep-Alive: timeout=`)
  applies if it is shorter than the operator's limit.
- A connection older than `max_age` carries no further exchange. The next one looks up the upstream's name again, so a change
  in DNS takes effect however busy the API is.
- There are never more than `max_connections`. Beyond that limit a request is refused at once, because a queue would only hide
  the overload. The limit counts connections that can carry a request or are being opened for one. A closing connection may
  take its time (pending bytes are delivered, TLS shuts down), so it does not count. There are never more than
  `max_connections` of those either, and none stays for longer than `timeouts.stream`.
- Of several upstreams, the one with the fewest exchanges gets the next request. One that cannot be reached, or gave no proper
  response several times in a row, is skipped for a time that doubles, or until it answers. If none is left, all are tried.
- A request whose connection could not be opened goes to the next upstream: nothing of it was sent.
- A pool that was replaced (`retire`) keeps no idle connection. The exchanges that began with it end with it.
- An upstream that sent unsolicited bytes may do so again, at a moment when they would be taken for the response to another
  client's request. For a time that doubles, each of its connections carries one request and is closed.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from sidecar.core.causes import Cause, Fault
from sidecar.proxy.limits import PoolLimits, UpstreamTimeouts
from sidecar.proxy.ports import ResponseSink
from sidecar.proxy.upstream.connection import UpstreamConnection
from sidecar.proxy.upstream.faults import unreachable
from sidecar.proxy.upstream.server import PASSED_OVER, UpstreamHealth, UpstreamServer, UpstreamTls, authority_of, opener
from sidecar.proxy.upstream.shapes import ResponseShapes

_FAILURES: Final = 3  # improper responses in a row before an upstream is skipped
_USED_ONCE: Final = (1.0, 30.0)  # likewise, for the connections of an upstream that sent unsolicited bytes
_TRUSTED_AGAIN: Final = 60.0  # seconds without a recurrence, after which the time restarts at its initial value


class UpstreamPool:
    """Sends requests to the upstreams at `urls`. `monotonic` gives seconds; `check` must be called regularly. `on_unasked`
    receives the address of an upstream that begins to send unsolicited bytes."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        loop: asyncio.AbstractEventLoop,
        timeouts: UpstreamTimeouts,
        limits: PoolLimits,
        monotonic: Callable[[], float],
        on_unasked: Callable[[str], None],
        tls: UpstreamTls | None = None,
        each_its_host: bool = False,
    ) -> None:
        self.loop = loop
        self.timeouts = timeouts
        self.monotonic = monotonic
        # With `each_its_host`, a request contains `UPSTREAM_HOST` where its connection inserts the name of its upstream.
        self.hosts: Sequence[tuple[bytes, str]] = [(authority_of(url) if each_its_host else b"", url) for url in urls]
        self.shapes = ResponseShapes(limits.idle)
        self.connections: set[UpstreamConnection] = set()  # those that carry an exchange, or can carry one
        self._closing: dict[UpstreamConnection, float] = {}  # each with the time since when, the oldest first
        self.limits = limits
        self._urls = urls
        self._on_unasked = on_unasked
        self._upstreams = [UpstreamServer(opener(url, loop, tls or UpstreamTls())) for url in urls]
        self._opening: set[asyncio.Task[None]] = set()
        self._expected = 0  # connections that are being opened and are not in `connections` yet
        self._retired = False

    def __repr__(self) -> str:
        idle = sum(len(upstream.idle) for upstream in self._upstreams)
        return f"<UpstreamPool {len(self.connections)} open, {idle} idle, {self._expected} opening>"

    # Called by exchanges.

    def dispatch(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request on an idle connection, or on a new one; `receiver` gets the outcome."""
        upstreams = self._upstreams
        address = 0 if len(upstreams) == 1 else self._choose(())
        upstream, now = upstreams[address], receiver.sent_at
        if upstream.idle:
            connection, until = upstream.idle.pop()
            if now <= until and connection.usable_now():
                found: UpstreamConnection | None = connection
            else:
                upstream.idle.append((connection, until))
                found = self._look_for_idle(upstream, now)
            if found is not None:
                upstream.exchanges += 1
                found.reused = True
                found.send(receiver, request, now)
                return
        self._open(receiver, request, address)

    def _look_for_idle(self, upstream: UpstreamServer, now: float) -> UpstreamConnection | None:
        """An idle connection that can be used at once, removed from the list. One with unread input stays in the list: the
        event loop will read the input, and close the connection unless the input belongs to TLS."""
        passed_over: list[tuple[UpstreamConnection, float]] = []
        found = None
        while upstream.idle and found is None:
            connection, until = upstream.idle.pop()
            if not connection.usable or now > until:
                connection.close()
            elif connection.usable_now():
                found = connection
            else:
                passed_over.append((connection, until))
        upstream.idle += reversed(passed_over)
        return found

    # Called by connections.

    def resend(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request again, on a new connection."""
        self._open(receiver, request, self._choose(()))

    def release(self, connection: UpstreamConnection, now: float) -> None:
        """An exchange ended with a proper response; keep the connection, idle since `now`, for the next one."""
        upstream = self._upstreams[connection.address]
        upstream.exchanges -= 1
        if upstream.failing:
            upstream.recovered()
        until = now + connection.idle_for
        until = min(until, connection.too_old_at)
        if now < upstream.used_once_until or now > until or self._retired:
            connection.close()
        else:
            upstream.idle.append((connection, until))

    def answered(self, connection: UpstreamConnection) -> None:
        """The upstream gave a proper response on a connection that cannot be kept."""
        self._upstreams[connection.address].recovered()

    def failed(self, connection: UpstreamConnection, fault: Fault) -> None:
        """The upstream of this connection gave no proper response."""
        upstream = self._upstreams[connection.address]
        upstream.failures += 1
        upstream.failed(fault)
        if upstream.failures >= _FAILURES:
            self._pass_over(upstream)

    def unsolicited(self, connection: UpstreamConnection) -> None:
        """The upstream of this connection sent unsolicited bytes: none of its connections is reused for a while."""
        if connection not in self.connections:
            return  # it is already closing, so its bytes could not be taken for a response
        upstream, now = self._upstreams[connection.address], self.monotonic()
        if now < upstream.used_once_until:
            return
        again = now < upstream.used_once_until + _TRUSTED_AGAIN
        upstream.used_once_for = min(2 * upstream.used_once_for, _USED_ONCE[1]) if again else _USED_ONCE[0]
        upstream.used_once_until = now + upstream.used_once_for
        while upstream.idle:
            upstream.idle.pop()[0].close()
        self._on_unasked(self._urls[connection.address])

    def connection_closing(self, connection: UpstreamConnection) -> None:
        """A connection will carry no further exchange; `connection_closed` follows when it is gone."""
        if not self._leave(connection):
            return
        self._closing[connection] = self.monotonic()
        if len(self._closing) > self.limits.max_connections:
            oldest = next(iter(self._closing))
            del self._closing[oldest]
            oldest.abort()

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        if not self._leave(connection):
            self._closing.pop(connection, None)

    def _leave(self, connection: UpstreamConnection) -> bool:
        """Stop counting a connection. Returns whether it was counted."""
        if connection not in self.connections:
            return False
        self.connections.remove(connection)
        upstream = self._upstreams[connection.address]
        if connection.carrying:
            upstream.exchanges -= 1
        else:
            upstream.idle[:] = [entry for entry in upstream.idle if entry[0] is not connection]
        return True

    # Choosing an upstream and connecting to it.

    def _choose(self, tried: Sequence[int]) -> int:
        now = self.monotonic()
        left = [address for address in range(len(self._upstreams)) if address not in tried]
        good = [address for address in left if self._upstreams[address].passed_over_until <= now]
        return min(good or left, key=lambda address: (self._upstreams[address].exchanges, address))

    def _pass_over(self, upstream: UpstreamServer) -> None:
        upstream.failures = 0
        upstream.passed_over_until = self.monotonic() + upstream.pause
        upstream.pause = min(2 * upstream.pause, PASSED_OVER[1])

    def _open(self, receiver: ResponseSink, request: bytes, address: int) -> None:
        if len(self.connections) + self._expected >= self.limits.max_connections and not self._spare():
            receiver.on_failure(Fault(Cause.ALL_CONNECTIONS_BUSY))
            return
        self._upstreams[address].exchanges += 1  # now, so that the next choice considers it
        self._expected += 1
        task = self.loop.create_task(self._connect(receiver, request, address))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _spare(self) -> bool:
        """Make room by closing an idle connection to any upstream."""
        for upstream in self._upstreams:
            if upstream.idle:
                upstream.idle.pop(0)[0].close()
                return True
        return False

    async def _connect(self, receiver: ResponseSink, request: bytes, address: int) -> None:
        try:
            outcome = await self._connect_to(receiver, address)
        finally:
            self._expected -= 1  # in the step in which the connection begins to count: it never counts twice
        if isinstance(outcome, Fault):
            receiver.on_failure(outcome)
        else:
            self._use(outcome, receiver, request)

    async def _connect_to(self, receiver: ResponseSink, address: int) -> UpstreamConnection | Fault:
        """A connection to the upstream at `address`, or else to another one; a `Fault` if none can be reached."""
        tried: list[int] = []
        while True:
            upstream = self._upstreams[address]
            outcome = await self._connection_to(address)
            if not isinstance(outcome, Fault):
                return outcome
            upstream.exchanges -= 1
            if outcome.cause is Cause.NO_SOCKETS:
                return outcome  # the upstream is not at fault
            self._pass_over(upstream)
            tried.append(address)
            if len(tried) == len(self._upstreams) or not receiver.wanted:
                return outcome
            address = self._choose(tried)
            self._upstreams[address].exchanges += 1

    async def _connection_to(self, address: int) -> UpstreamConnection | Fault:
        try:
            async with asyncio.timeout(self.timeouts.connect):
                connection = await self._upstreams[address].connect(self._factory(address))
        except (OSError, ValueError) as exc:  # ValueError for invalid names, such as a..b
            parts = urlsplit(self._urls[address])
            fault = unreachable(exc, secure=parts.scheme == "https", by_file=parts.scheme == "unix")
            fault = fault._replace(upstream=self._urls[address])
            if fault.cause is not Cause.NO_SOCKETS:
                self._upstreams[address].failed(fault)
            return fault
        self._upstreams[address].reached()
        return connection

    def _use(self, connection: UpstreamConnection, receiver: ResponseSink, request: bytes) -> None:
        upstream = self._upstreams[connection.address]
        transport = connection.transport
        if transport is None or transport.is_closing():  # the connection was lost before this task continued
            upstream.exchanges -= 1
            receiver.on_failure(Fault(Cause.CLOSED_WITHOUT_ANSWER, "", self._urls[connection.address]))
            return
        self.connections.add(connection)
        if receiver.wanted:
            connection.send(receiver, request, self.monotonic())
        else:
            upstream.exchanges -= 1
            if self._retired:
                connection.close()
            else:
                upstream.idle.append((connection, self.monotonic() + self.limits.idle))

    def _factory(self, address: int) -> Callable[[], UpstreamConnection]:
        return lambda: UpstreamConnection(self, address)

    # Called by the worker.

    def check(self, now: float) -> None:
        """Close connections that were idle for too long, and fail exchanges whose upstream is silent."""
        for upstream in self._upstreams:
            for connection, until in list(upstream.idle):
                if now > until:
                    connection.close()
        for connection in list(self.connections):
            try:
                connection.check(now)
            except Exception:
                connection.abort()  # so that the next check does not fail on it again
                raise
        for connection, since in list(self._closing.items()):
            if now - since > self.timeouts.stream:
                connection.abort()

    async def probe(self) -> Sequence[Fault]:
        """For readiness: empty when an upstream accepts connections, otherwise why each of them does not."""
        faults = []
        for address, upstream in enumerate(self._upstreams):
            outcome = None if upstream.idle else await self._connection_to(address)
            if not isinstance(outcome, Fault):
                if outcome is not None:
                    outcome.close()
                return ()
            faults.append(outcome)
        return faults

    def health(self) -> list[UpstreamHealth]:
        """How each address fares."""
        now = self.monotonic()
        return [each.health(url, now) for url, each in zip(self._urls, self._upstreams, strict=True)]

    def retire(self) -> None:
        """Another pool takes its place. Close the idle connections; the others carry their exchanges to the end."""
        self._retired = True
        for upstream in self._upstreams:
            for connection, _ in list(upstream.idle):
                connection.close()

    def states(self) -> dict[str, int]:
        """How many connections are in each state: `busy`, `idle`, `opening` or `closing`."""
        idle = sum(len(upstream.idle) for upstream in self._upstreams)
        busy = len(self.connections) - idle
        return {"busy": busy, "idle": idle, "opening": self._expected, "closing": len(self._closing)}

    @property
    def occupied(self) -> bool:
        """Whether there is any connection, or one is being opened."""
        return bool(self.connections or self._closing or self._expected)

    async def close(self) -> None:
        """Close every connection, and wait until those being opened are given up."""
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in [*self.connections, *self._closing]:
            connection.abort()
