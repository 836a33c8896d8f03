"""One connection to the API server: a protocol object over httptools.

Rules:
- A connection carries one exchange at a time and goes back to the pool only when its response ended exactly where its
  framing said, the request was sent whole, and both sides keep the connection alive.
- Bytes from a connection that carries no exchange close it: they could be taken for the answer to the next request. So the
  system is asked, at the last moment before a request is written, whether something came that the loop has not read yet.
  Bytes may come later still: an answer that has no body (to HEAD, or a 304) but announces one ends its connection, since
  some servers send that body; and the pool is told of an upstream that sends what nobody asked for.
- A connection that goes back to the pool is read from. One that was paused there would execute the next request, and
  nobody would read the answer.
- A request whose reused connection turns out dead is sent again only when that cannot do anything twice: a safe method
  (RFC 9110 section 9.2.2) without a body, and no byte of a response seen. Or when nothing was written at all.
- What arrives in one read is handed on only after all of it has been parsed, so that a malformed tail makes the whole
  answer a 502 while that is still possible, and an aborted one otherwise; never a clean end.
- A body without a length ends with the upstream's end of stream: a FIN, or over TLS a close_notify, without which anybody on
  the way could have cut it (RFC 9112 section 9.8). A connection that ends in any other way ends no answer properly.
- An upstream may answer before it has the whole request. When it refuses that (RFC 9112 section 9.5) the rest is not sent, and
  what it said before it cut the connection counts although our writing failed. Over TLS that is lost, and a 502.
- The upstream's time runs while it is the upstream's turn: it has the whole request, or takes no more of it for now, or has
  not said 100 to a client that waits for that. While more of the request is to come from the client, it is the client's turn,
  and the client's connection watches it. The client's connection also watches a client that takes no more of an answer, which
  is why the upstream is not read for a while; before the head of the answer that is no reason to wait longer.
"""

import asyncio
import contextlib
import os
import re
import select
from collections.abc import Callable
from typing import Final

import httptools

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.response_headers import InvalidResponse, ResponseHeaders, read_response_headers, trailer_pieces
from sidecar.proxy.ports import ConnectionPool, ResponseSink, TunnelEnd
from sidecar.proxy.upstream.faults import lost, unreadable
from sidecar.proxy.wire import date_line

_MAX_HEAD = 256 * 1024  # a response head or trailers beyond this are no HTTP server's
_BODYLESS = (204, 304)
_NO_UPGRADE: Final = "without Connection: upgrade, or without Upgrade"
_READ = 256 * 1024
_LINE_END: Final = re.compile(rb"[ \t]+\r\n")
_PHRASE: Final = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9112 section 4
_LATE: Final = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")  # how some servers say that a connection was idle for too long
UPSTREAM_HOST: Final = (
    b"\0"  # stands in a request for the `Host` of the upstream that gets it; no request that came holds one
)
_UNREAD: Final = select.POLLIN | getattr(select, "POLLRDHUP", 0)


def without_tabs(data: bytes) -> bytes:
    """A read that begins with a head, without the white space at the ends of its lines when a tab is among it: llhttp knows
    `chunked` with a space behind it, and not with a tab."""
    end = data.find(b"\r\n\r\n") + 2
    if data.find(b"\t", 0, end) < 0:
        return data
    return _LINE_END.sub(b"\r\n", data[:end]) + data[end:]


class UpstreamConnection(asyncio.Protocol):
    """One connection to the upstream. `address` says which of the pool's."""

    __slots__ = (
        "_active_at",
        "_complete",
        "_drained",
        "_final",
        "_head_bytes",
        "_headers",
        "_host",
        "_invalid",
        "_keep_alive",
        "_parser",
        "_poll",
        "_pool",
        "_reading_paused",
        "_reason",
        "_switch",
        "_trailers",
        "_tunnel",
        "_until_eof",
        "_wrote_body",
        "address",
        "busy",
        "idle_for",
        "receiver",
        "request",
        "reused",
        "seen",
        "too_old_at",
        "transport",
    )

    def __init__(self, pool: "ConnectionPool[UpstreamConnection]", address: int) -> None:
        self._pool = pool
        self.address = address
        self.transport: asyncio.Transport | None = None
        self.receiver: ResponseSink | None = None
        self.request = b""
        self.reused = False
        self.busy = False  # it carries an exchange, or the rest of one
        self.idle_for = pool.limits.idle  # seconds, as the last answer left it
        self.too_old_at = 0.0  # monotonic seconds
        self._host = pool.hosts[address]
        self._drained: asyncio.Future[None] | None = None
        self._switch: tuple[bytes, ResponseHeaders] | None = None  # a 101 that was read and is valid
        self._tunnel: TunnelEnd | None = None
        self._reading_paused = False
        self._wrote_body = False  # bytes of it followed the head in writes of their own
        self._active_at = 0.0
        self._poll: Callable[[int], list[tuple[int, int]]] = lambda _: []
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._start()

    def __repr__(self) -> str:
        state = "closed" if self.transport is None else "busy" if self.receiver else "idle"
        return f"<UpstreamConnection {state}>"

    def _start(self) -> None:
        self.seen = False
        self._final = False
        self._complete = False
        self._trailers: list[tuple[bytes, bytes]] = []
        self._keep_alive = False
        self._until_eof = False
        self._invalid: Fault | None = None
        self._head_bytes = 0  # since the last byte of a body: heads, trailers, and what frames chunks

    # Called by the pool.

    @property
    def usable(self) -> bool:
        """Whether it can carry an exchange: it is open, nobody's, and read from."""
        transport = self.transport
        return (
            transport is not None and self.receiver is None and not self._reading_paused and not transport.is_closing()
        )

    def usable_now(self) -> bool:
        """Whether it is usable, and nothing has come that was not read yet: bytes or the end of the stream."""
        return self.usable and not self._poll(0)

    # Called by the exchange.

    def send(self, receiver: ResponseSink, request: bytes, now: float) -> None:
        """Begin an exchange by writing the head of its request, and the body when that is at hand."""
        transport = self.transport
        assert transport is not None and self.receiver is None and not self._reading_paused  # noqa: PT018, S101  see `usable`
        self.receiver = receiver
        self.busy = True
        self._wrote_body = False
        self.request = request if receiver.resendable else b""
        self._active_at = now
        transport.write(request.replace(UPSTREAM_HOST, self._host, 1) if self._host else request)
        receiver.on_connected(self)

    def write(self, data: bytes) -> None:
        """Send bytes of the request's body, already framed."""
        if self.transport is not None:
            self._active_at = self._pool.monotonic()
            self._wrote_body = True
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

    def end_writing(self) -> bool:
        """Say no more; whether the upstream's answer can still come."""
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            self.close()
            return False
        transport.write_eof()
        return True

    def close(self) -> None:
        """Close once what was written is delivered."""
        if self.transport is not None:
            self._pool.closing(self)
            self.transport.close()

    def abandon(self) -> None:
        """Nobody wants the answer: close at once, so that the upstream sees it and nobody else gets it."""
        self.receiver = None
        if self.transport is not None:
            self._pool.closing(self)
            self.transport.abort()

    def check(self, now: float) -> None:
        """Fail the exchange when the upstream has been silent for too long."""
        receiver = self.receiver
        if receiver is None or (self._reading_paused and self._final):
            return
        held_back = receiver.expects_continue and not self._wrote_body
        clients_turn = receiver.sending and self._drained is None and not held_back
        if clients_turn and not self._final:
            self._active_at = now
            return
        timeouts = self._pool.timeouts
        if now - self._active_at > (timeouts.stream if self._final else timeouts.response):
            unread = self._reading_paused
            self.abandon()
            if not clients_turn and not unread and not held_back:  # else the client may have kept it waiting
                self._pool.failed(self)
            receiver.on_failure(Fault(Cause.STALLED if self._final else Cause.NO_ANSWER))

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # stream transports are what is asked for
        self.too_old_at = self._pool.monotonic() + self._pool.limits.max_age
        events = select.poll()
        events.register(transport.get_extra_info("socket").fileno(), _UNREAD)
        self._poll = events.poll
        if transport.get_extra_info("ssl_object") is not None:
            # While we do not read, uvloop decrypts ahead, and drops all of that at the end of the stream. So it must not.
            transport.set_read_buffer_limits(high=1, low=0)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._wrote_body:
            self._read_last()
        self.transport = None
        self._pool.forget(self)
        self._wake()
        if self._tunnel is not None:
            self._tunnel.finish()
            return
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            return
        if self.reused and self.request and not self.seen:
            self._pool.resend(receiver, self.request)
        else:
            self._pool.failed(self)
            receiver.on_failure(lost(exc, begun=self.seen, kept=self.reused))

    def _read_last(self) -> None:
        """Read what came before our writing failed: the kernel has it, but uvloop stops reading with the first error. Its end
        means nothing, for after an error the kernel shows a reset as an end of stream."""
        transport = self.transport
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return
        descriptor = transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while self.receiver is not None and (data := os.read(descriptor, _READ)):
                self.data_received(data)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            return self._tunnel.upstream_ended()
        if self.receiver is None:
            self.close()
        elif self._until_eof:
            self._finish(self.receiver, self._pool.monotonic())
        elif self.transport is not None:
            self._pool.closing(self)
            self.transport.abort()  # at once: what it was still to be sent, it may never take
        return False

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.upstream_full(full=True)
        else:
            self._drained = self._pool.loop.create_future()

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.upstream_full(full=False)
        else:
            self._active_at = self._pool.monotonic()
            self._wake()

    def _wake(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_upstream(data, self._pool.monotonic())
            return
        receiver = self.receiver
        if receiver is None:
            self._give_up_on(data)
            return
        now = self._active_at = self._pool.monotonic()
        first, self.seen = not self.seen, True
        if first and not receiver.head_request:
            shapes = self._pool.shapes
            whole = shapes.read(data)
            if whole is not None:
                self.idle_for = shapes.idle_for
                self._release(receiver, now, keep_alive=True)
                receiver.on_whole(whole, now)
                return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(without_tabs(data) if first else data)
        except httptools.HttpParserUpgrade as exc:
            if self._switch is not None and receiver.awaits_switch and not self._invalid:
                self._start_tunnel(receiver, data[exc.args[0] :], now)
                return
            self._invalid = self._invalid or _bad_switch(receiver)
        except httptools.HttpParserError as exc:
            self._invalid = self._invalid or unreadable(data if first else b"", str(exc))
        if self._invalid or self._switch is not None or self._head_bytes > _MAX_HEAD:
            self._fail(receiver)
        elif self._complete:
            if first and self._keep_alive and not receiver.head_request:
                self._pool.shapes.learn(data)
            self._finish(receiver, now)
        else:
            receiver.flush()

    def _give_up_on(self, data: bytes) -> None:
        """Bytes that are nobody's."""
        if not data.startswith(_LATE):
            self._pool.unasked(self)
        self.abandon()

    def _fail(self, receiver: ResponseSink) -> None:
        """The answer is not one that may be passed on."""
        if self._invalid is None:
            without = self._switch is not None
            self._invalid = Fault(Cause.BAD_SWITCH, _NO_UPGRADE) if without else Fault(Cause.HEAD_TOO_LARGE)
        if self._complete:
            self._pool.unasked(self)  # more came than the answer
        self.abandon()
        if not (
            self._parser.get_status_code() == 101 and receiver.upgrade
        ):  # a client that spoke too early is no fault of it
            self._pool.failed(self)
        receiver.on_failure(self._invalid)

    def _start_tunnel(self, receiver: ResponseSink, data: bytes, now: float) -> None:
        assert self._switch is not None  # noqa: S101  the caller checked it
        self.receiver = None
        self._pool.answered(self)
        self._tunnel = receiver.on_switch(self, *self._switch)
        if data:
            self._tunnel.from_upstream(data, now)

    def _finish(self, receiver: ResponseSink, now: float) -> None:
        self._release(receiver, now, keep_alive=self._keep_alive)
        receiver.on_complete(now)

    def _release(self, receiver: ResponseSink, now: float, *, keep_alive: bool) -> None:
        self.receiver = None
        if keep_alive and receiver.may_reuse():
            if self._final:
                self._start()
            else:
                self.seen = False  # it was not the parser's
            if self._reading_paused:  # TLS brings what it has decrypted, even when the client takes no more of it
                self.resume_reading()
            self._pool.give_back(self, now)
        else:
            self._pool.answered(self)
            if receiver.sending:
                self.abandon()  # it has its half of the request, and shall not take it for more
            else:
                self.close()

    # Called by httptools while it parses. An exception here would lose its type: faults set `_invalid` instead.

    def on_message_begin(self) -> None:
        self._headers = []
        self._reason = b""
        if self._complete:
            self._invalid = Fault(Cause.BYTES_AFTER_ANSWER)

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._final:
            self._trailers.append((name, value))  # what comes after the body
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        receiver = self.receiver
        if receiver is None or self._complete or self._invalid:
            return
        status = self._parser.get_status_code()
        try:
            headers = read_response_headers(self._headers)
        except InvalidResponse as exc:
            self._invalid = Fault(Cause.BAD_FRAMING, str(exc))
            return
        if self._misframed(status, headers):
            self._invalid = Fault(Cause.BAD_FRAMING, "a body where none may be, or chunks over HTTP/1.0")
            return
        if not _PHRASE.fullmatch(self._reason):
            self._invalid = Fault(Cause.NOT_HTTP, "a control character in the reason phrase")
            return
        if status < 200:
            self._informational(receiver, status, headers)
            return
        self._final = True
        bodyless = receiver.head_request or status in _BODYLESS
        announced = headers.chunked or bool(headers.length)
        self._keep_alive = self._parser.should_keep_alive() and not (bodyless and announced)
        self._until_eof = not bodyless and headers.length is None and not headers.chunked
        self.idle_for = self._pool.shapes.kept_for(headers.keep_alive)
        if not headers.dated:
            headers.pieces.append(date_line())  # RFC 9110 section 6.6.1: a recipient with a clock adds it
        receiver.on_head(status, self._reason, headers)
        if status >= 300 and not self._keep_alive:
            receiver.stop_sending()
        if receiver.head_request:
            self._complete = True

    def _misframed(self, status: int, headers: ResponseHeaders) -> bool:
        """Whether the fields that frame a body are where they must not be (RFC 9112 section 6.1, RFC 9110 section 8.6), so
        that two readers could differ about what follows. A length of 0 says what is so anyway."""
        if headers.chunked and self._parser.get_http_version() == "1.0":
            return True
        return (status < 200 or status == 204) and (headers.chunked or bool(headers.length))

    def _informational(self, receiver: ResponseSink, status: int, headers: ResponseHeaders) -> None:
        if headers.length is not None:  # 0, and not to be passed on all the same
            headers = read_response_headers(pair for pair in self._headers if pair[0].lower() != b"content-length")
        if status == 101 and receiver.awaits_switch and headers.upgrade:
            self._switch = (self._reason, headers)
        elif status == 101:
            self._invalid = _bad_switch(receiver)
        elif status < 100:
            self._invalid = Fault(Cause.NOT_HTTP, "a status below 100")
        else:
            receiver.on_informational(status, self._reason, headers)

    def on_body(self, data: bytes) -> None:
        receiver = self.receiver
        self._head_bytes = 0
        if self._complete:
            self._invalid = Fault(Cause.BAD_FRAMING, "a body in the answer to HEAD")
        elif receiver is not None and not self._invalid:
            receiver.on_body(data)

    def on_message_complete(self) -> None:
        if self._final:
            self._complete = True
            if self._trailers and self.receiver is not None:
                self.receiver.on_trailers(trailer_pieces(self._trailers))


def _bad_switch(receiver: ResponseSink) -> Fault:
    """Why a 101 begins no tunnel."""
    if not receiver.upgrade:
        return Fault(Cause.BAD_SWITCH, "nobody had asked for it")
    early = not receiver.awaits_switch
    return Fault(Cause.BAD_SWITCH, "the client had sent more than its request" if early else _NO_UPGRADE)
