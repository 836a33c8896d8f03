"""The connections to the API server: a pool of protocol objects over httptools.

Rules:
- A connection carries one exchange at a time and goes back to the pool only when its response ended exactly where its
  framing said, the request was sent whole, and both sides keep the connection alive.
- Bytes from a connection that carries no exchange close it: they could be taken for the answer to the next request.
- A request whose reused connection turns out dead is sent again only when that cannot do anything twice: a safe method
  (RFC 9110 section 9.2.2) without a body, and no byte of a response seen. Or when nothing was written at all.
- What arrives in one read is handed on only after all of it has been parsed, so that a malformed tail makes the whole
  answer a 502 while that is still possible, and an aborted one otherwise; never a clean end.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import httptools

from sidecar.core.headers import InvalidResponse, ResponseHeaders, read_response_headers
from sidecar.core.reasons import Reason

_MAX_HEAD = 256 * 1024  # a response head beyond this is no HTTP server's
_BODYLESS = (204, 304)


class UpstreamTimeouts(NamedTuple):
    """In seconds: to connect, to the head of the response, between two reads of its body."""

    connect: float
    response: float
    stream: float


class Receiver(Protocol):
    """The exchange that a connection works for. Calls come in the order of the response."""

    head_request: bool
    resendable: bool
    wanted: bool  # somebody still waits for the answer
    sent_at: float  # monotonic seconds

    def on_connected(self, connection: "UpstreamConnection") -> None:
        """The request's head was written to `connection`; the body may follow."""

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """A 1xx response (RFC 9110 section 15.2), never 101."""

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """The head of the final response."""

    def on_body(self, data: bytes) -> None:
        """Bytes of its body."""

    def on_complete(self, now: float) -> None:
        """The response is whole at `now` (monotonic seconds); nothing was handed on since the last `flush`."""

    def flush(self) -> None:
        """All that came with one read has been given: hand it on."""

    def on_failure(self, reason: Reason) -> None:
        """There will be no (more) response."""

    def may_reuse(self) -> bool:
        """Whether the request was sent whole."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to the upstream."""

    __slots__ = (
        "_active_at",
        "_complete",
        "_drained",
        "_final",
        "_head_bytes",
        "_headers",
        "_invalid",
        "_keep_alive",
        "_parser",
        "_pool",
        "_reading_paused",
        "_reason",
        "_until_eof",
        "receiver",
        "request",
        "reused",
        "seen",
        "transport",
    )

    def __init__(self, pool: "UpstreamPool") -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.receiver: Receiver | None = None
        self.request = b""
        self.reused = False
        self._drained: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._active_at = 0.0
        self._reset()

    def __repr__(self) -> str:
        state = "closed" if self.transport is None else "busy" if self.receiver else "idle"
        return f"<UpstreamConnection {state}>"

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._start()

    def _start(self) -> None:
        self.seen = False
        self._final = False
        self._complete = False
        self._keep_alive = False
        self._until_eof = False
        self._invalid = False
        self._head_bytes = 0

    # Called by the exchange.

    def send(self, receiver: Receiver, request: bytes, now: float) -> None:
        """Begin an exchange by writing the head of its request, and the body when that is at hand."""
        transport = self.transport
        assert transport is not None  # noqa: S101  the pool hands out open connections only
        self.receiver = receiver
        self.request = request if receiver.resendable else b""
        self._active_at = now
        transport.write(request)
        receiver.on_connected(self)

    def write(self, data: bytes) -> None:
        """Send bytes of the request's body, already framed."""
        if self.transport is not None:
            self._active_at = self._pool.monotonic()
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more."""
        if self._drained is not None:
            await self._drained

    def pause_reading(self) -> None:
        """The client does not take more: stop reading the response."""
        if self.transport is not None and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client takes more."""
        if self.transport is not None and self._reading_paused:
            self._reading_paused = False
            self._active_at = self._pool.monotonic()
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Nobody wants the answer: close at once, so that the upstream sees it and nobody else gets it."""
        self.receiver = None
        if self.transport is not None:
            self.transport.abort()

    def check(self, now: float) -> None:
        """Fail the exchange when the upstream has been silent for too long."""
        receiver = self.receiver
        timeouts = self._pool.timeouts
        if receiver is None or self._reading_paused:
            return
        if now - self._active_at > (timeouts.stream if self._final else timeouts.response):
            self.abandon()
            receiver.on_failure(Reason.UPSTREAM_TIMEOUT)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # stream transports are what is asked for
        self._pool.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pool.forget(self)
        self._wake()
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            return
        if self._until_eof and exc is None and not self._invalid:
            receiver.on_complete(self._pool.monotonic())
        elif self.seen:
            receiver.on_failure(Reason.UPSTREAM_INVALID)
        elif self.reused and self.request:
            self._pool.resend(receiver, self.request)
        else:
            receiver.on_failure(Reason.UPSTREAM_UNREACHABLE)

    def pause_writing(self) -> None:
        self._drained = self._pool.loop.create_future()

    def resume_writing(self) -> None:
        self._wake()

    def _wake(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        receiver = self.receiver
        if receiver is None:
            if self.transport is not None:
                self.transport.abort()
            return
        self.seen = True
        now = self._active_at = self._pool.monotonic()
        if not self._final:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._invalid = True
        if self._invalid or (not self._final and self._head_bytes > _MAX_HEAD):
            self._invalid = True
            self.abandon()
            receiver.on_failure(Reason.UPSTREAM_INVALID)
        elif self._complete:
            self._finish(receiver, now)
        else:
            receiver.flush()

    def _finish(self, receiver: Receiver, now: float) -> None:
        self.receiver = None
        if self._keep_alive and receiver.may_reuse():
            if receiver.head_request:
                self._reset()  # the parser would wait for the body that HEAD announces
            else:
                self._start()
            self._pool.give_back(self, now)
        elif self.transport is not None:
            self.transport.close()
        receiver.on_complete(now)

    # Called by httptools while it parses. An exception here would lose its type: faults set `_invalid` instead.

    def on_message_begin(self) -> None:
        self._headers = []
        self._reason = b""
        if self._complete:
            self._invalid = True  # bytes after the end of the response

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._final:  # fields after the body are trailers
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        receiver = self.receiver
        if receiver is None or self._complete or self._invalid:
            return
        status = self._parser.get_status_code()
        try:
            headers = read_response_headers(self._headers)
        except InvalidResponse:
            self._invalid = True
            return
        if status < 200:
            if status == 101 or status < 100:
                self._invalid = True
            else:
                receiver.on_informational(status, self._reason, headers)
            return
        if status == 204 and (headers.length or headers.chunked):
            self._invalid = True
            return
        self._final = True
        self._keep_alive = self._parser.should_keep_alive()
        bodyless = receiver.head_request or status in _BODYLESS
        self._until_eof = not bodyless and headers.length is None and not headers.chunked
        receiver.on_head(status, self._reason, headers)
        if receiver.head_request:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        receiver = self.receiver
        if self._complete:
            self._invalid = True  # a body in the answer to HEAD
        elif receiver is not None and not self._invalid:
            receiver.on_body(data)

    def on_message_complete(self) -> None:
        if self._final:
            self._complete = True


class UpstreamPool:
    """Connections to one upstream: idle ones are used again, the last one first, for it is the least likely to be stale.

    `monotonic` gives seconds. `check` is to be called now and then.
    """

    def __init__(
        self,
        url: str,
        *,
        loop: asyncio.AbstractEventLoop,
        timeouts: UpstreamTimeouts,
        monotonic: Callable[[], float],
        idle_expiry: float = 30.0,
        max_idle: int = 256,
    ) -> None:
        self.loop = loop
        self.timeouts = timeouts
        self.monotonic = monotonic
        self.connections: set[UpstreamConnection] = set()
        self.authority = authority_of(url)
        self._open_connection = _opener(url, loop)
        self._idle: list[tuple[UpstreamConnection, float]] = []
        self._idle_expiry = idle_expiry
        self._max_idle = max_idle
        self._opening: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<UpstreamPool {len(self.connections)} open, {len(self._idle)} idle, {len(self._opening)} opening>"

    def dispatch(self, receiver: Receiver, request: bytes) -> None:
        """Send a request on an idle connection, or on a new one; the outcome comes to `receiver`."""
        while self._idle:
            connection, _ = self._idle.pop()
            transport = connection.transport
            if transport is not None and not transport.is_closing():
                connection.reused = True
                connection.send(receiver, request, receiver.sent_at)
                return
        self.resend(receiver, request)

    def resend(self, receiver: Receiver, request: bytes) -> None:
        """Send a request on a new connection."""
        task = self.loop.create_task(self._open(receiver, request))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, receiver: Receiver, request: bytes) -> None:
        try:
            async with asyncio.timeout(self.timeouts.connect):
                connection = await self._open_connection(lambda: UpstreamConnection(self))
        except TimeoutError:
            receiver.on_failure(Reason.UPSTREAM_TIMEOUT)
        except OSError:
            receiver.on_failure(Reason.UPSTREAM_UNREACHABLE)
        else:
            if connection.transport is None:  # it was lost before this task went on
                receiver.on_failure(Reason.UPSTREAM_UNREACHABLE)
            elif receiver.wanted:
                connection.send(receiver, request, self.monotonic())
            else:
                self.give_back(connection, self.monotonic())

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection that is idle since `now` for the next request."""
        if len(self._idle) < self._max_idle:
            self._idle.append((connection, now))
        elif connection.transport is not None:
            connection.transport.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if connection.receiver is None and self._idle:
            self._idle = [entry for entry in self._idle if entry[0] is not connection]

    def check(self, now: float) -> None:
        """Close connections idle for too long and fail exchanges whose upstream is silent."""
        while self._idle and now - self._idle[0][1] > self._idle_expiry:
            connection, _ = self._idle.pop(0)
            if connection.transport is not None:
                connection.transport.close()
        for connection in list(self.connections):
            connection.check(now)

    async def probe(self) -> bool:
        """Whether the upstream accepts connections (for readiness)."""
        if self._idle:
            return True
        try:
            async with asyncio.timeout(self.timeouts.connect):
                connection = await self._open_connection(lambda: UpstreamConnection(self))
        except (OSError, TimeoutError):
            return False
        if connection.transport is not None:
            connection.transport.close()
        return True

    async def close(self) -> None:
        """Close every connection, and wait for those being opened to be given up."""
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in list(self.connections):
            connection.abandon()


def authority_of(url: str) -> bytes:
    """What to send as `Host` when the client gave none."""
    parts = urlsplit(url)
    return b"localhost" if parts.scheme == "unix" else parts.netloc.encode()


def _opener(
    url: str, loop: asyncio.AbstractEventLoop
) -> Callable[[Callable[[], UpstreamConnection]], Awaitable[UpstreamConnection]]:
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)

    async def connect(factory: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        if parts.scheme == "unix":
            _, protocol = await loop.create_unix_connection(factory, unquote(parts.path))
        else:
            _, protocol = await loop.create_connection(factory, host, port, ssl=tls)
        return protocol

    return connect
