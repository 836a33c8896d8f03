"""One connection to the API server: its transport, its place in the pool and its time limits.

`states` has the states of a connection. `reader` reads the responses, except those with a known head (`shapes`). `deadlines`
limits how long the upstream may be silent.

Rules:
- A connection carries one exchange at a time. It returns to the pool only when its response ended exactly where its framing
  said, the request was sent completely, and both sides keep the connection alive.
- Bytes on a connection without an exchange close it, because they could be taken for the response to the next request. So,
  right before a request is written, the sidecar asks the system whether unread input has arrived. Bytes may arrive even
  later, so the pool is told about an upstream that sends unsolicited bytes.
- Reading is never paused on a pooled connection. Otherwise the upstream would execute the next request, and no one would read
  the response.
- A request on a reused connection that turns out to be dead is resent only when it cannot take effect twice: a safe method
  (RFC 9110 section 9.2.2) without a body, and no byte of a response received. Or when nothing was written at all.
- The content of a read is forwarded only after the whole read was parsed (`reader`).
- A body without a length ends with the upstream's end of stream: a FIN, or over TLS a close_notify. Without a close_notify
  anyone on the path could have truncated the body (RFC 9112 section 9.8). Any other end of a connection leaves a response
  incomplete.
- An upstream may respond before it has received the whole request. When it rejects the request (RFC 9112 section 9.5) the
  rest is not sent, and what it sent before it cut the connection counts although the sidecar's write failed. Over TLS that
  response is lost, and the client gets 502.
"""

import asyncio
import contextlib
import os
import select
from collections.abc import Callable, Iterator
from typing import Final

from sidecar.core.causes import Cause, Fault
from sidecar.proxy.ports import ConnectionPool, ResponseSink, TunnelEnd
from sidecar.proxy.upstream.deadlines import Situation, Verdict, judge
from sidecar.proxy.upstream.faults import lost
from sidecar.proxy.upstream.reader import Progress, ResponseReader
from sidecar.proxy.upstream.states import CARRYING, TRANSITIONS, State

_READ = 256 * 1024
_LATE: Final = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")  # how some servers report that a connection was idle for too long
UPSTREAM_HOST: Final = (
    b"\0"  # placeholder in a request for the `Host` of its upstream; no client request can contain this byte
)
_UNREAD: Final = select.POLLIN | getattr(select, "POLLRDHUP", 0)
# In Python 3.11, accessing an enumeration member calls a function each time.
_IDLE, _ASKED, _HEAD, _BODY = State.IDLE, State.ASKED, State.HEAD, State.BODY


class UpstreamConnection(asyncio.Protocol):
    """One connection to the upstream. `address` is the index of the upstream in the pool."""

    __slots__ = (
        "_active_at", "_drained", "_host", "_poll", "_pool", "_reader", "_reading_paused", "_tunnel", "_url", "_wrote_body",
        "address", "idle_for", "receiver", "request", "reused", "state", "too_old_at", "transport",
    )  # fmt: skip

    def __init__(self, pool: "ConnectionPool[UpstreamConnection]", address: int) -> None:
        self._pool = pool
        self.address = address
        self.transport: asyncio.Transport | None = None
        self.state = State.CONNECTING
        self.receiver: ResponseSink | None = None  # the exchange that awaits a response
        self.request = b""
        self.reused = False
        self.idle_for = pool.limits.idle  # seconds, as determined by the last response
        self.too_old_at = 0.0  # monotonic seconds
        self._host, self._url = pool.hosts[address]
        self._drained: asyncio.Future[None] | None = None
        self._tunnel: TunnelEnd | None = None
        self._reading_paused = False
        self._wrote_body = False  # bytes of the body were written separately from the head
        self._active_at = 0.0
        self._poll: Callable[[int], list[tuple[int, int]]] = lambda _: []
        self._reader = ResponseReader()

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.state.value}>"

    def _become(self, state: State) -> None:
        """Change the state. An illegal transition is a defect of the sidecar: it is logged, and the connection continues."""
        if state not in TRANSITIONS[self.state]:
            message = f"upstream connection: {self.state.value} to {state.value}"
            self._pool.loop.call_exception_handler({"message": message})
        self.state = state

    # Called by the pool.

    @property
    def carrying(self) -> bool:
        """Whether it carries an exchange, or the rest of one."""
        return self.state in CARRYING

    @property
    def usable(self) -> bool:
        """Whether it can carry an exchange: it is open, idle, and reading is not paused."""
        transport = self.transport
        return self.state is _IDLE and transport is not None and not self._reading_paused and not transport.is_closing()

    def usable_now(self) -> bool:
        """Whether it is usable and has no unread input: neither bytes nor the end of the stream."""
        return self.usable and not self._poll(0)

    # Called by the exchange.

    def send(self, receiver: ResponseSink, request: bytes, now: float) -> None:
        """Start an exchange: write the head of its request, and the body if it is already available."""
        transport = self.transport
        assert transport is not None and self.state is _IDLE and not self._reading_paused  # noqa: PT018, S101  see `usable`
        self.receiver = receiver
        self.state = _ASKED
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
        """Wait until the upstream accepts more."""
        if self._drained is not None:
            await self._drained

    def pause_reading(self) -> None:
        """The client accepts no more: stop reading the response."""
        if self.transport is not None and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client accepts more again."""
        if self.transport is not None and self._reading_paused:
            self._reading_paused = False
            self._active_at = self._pool.monotonic()
            self.transport.resume_reading()

    def end_writing(self) -> bool:
        """Close the sending side. Returns whether the upstream's response can still arrive."""
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            self.close()
            return False
        transport.write_eof()
        return True

    def close(self) -> None:
        """Close after everything written has been delivered."""
        if self.transport is not None:
            self._stop()
            self.transport.close()

    def _stop(self) -> None:
        """It will carry no further exchange. The pool is told first, because it asks whether there was one."""
        self._pool.connection_closing(self)
        self._become(State.CLOSING)

    def abort(self) -> None:
        """The response is no longer wanted: close at once, so that the upstream notices and no other request gets the
        response."""
        self.receiver = None
        self._reader.reset()
        if self.transport is not None:
            self._stop()
            self.transport.abort()

    def check(self, now: float) -> None:
        """Fail the exchange when the upstream has been silent for too long."""
        receiver = self.receiver
        if receiver is None:
            return
        situation = Situation(
            answering=self.state is _BODY,
            unread=self._reading_paused,
            sending=receiver.sending,
            full=self._drained is not None,
            held_back=receiver.expects_continue and not self._wrote_body,
            active_at=self._active_at,
        )
        verdict = judge(situation, self._pool.timeouts, now)
        if verdict is Verdict.BEGIN_ANEW:
            self._active_at = now
        elif verdict is not Verdict.NOTHING:
            self.abort()
            fault = Fault(Cause.STALLED if situation.answering else Cause.NO_ANSWER, "", self._url)
            if verdict is Verdict.FAIL:
                self._pool.failed(self, fault)
            receiver.on_failure(fault)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # only stream transports are requested
        self._become(_IDLE)
        self.too_old_at = self._pool.monotonic() + self._pool.limits.max_age
        self._poll = _poll_of(transport)
        if transport.get_extra_info("ssl_object") is not None:
            # While reading is paused, uvloop would decrypt ahead, and discard those bytes at the end of the stream. The
            # limits prevent that.
            transport.set_read_buffer_limits(high=1, low=0)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._wrote_body:
            self._read_last()
        self.transport = None
        self._pool.connection_closed(self)
        begun = self.state is not _ASKED
        self._become(State.CLOSED)
        self._wake()
        if self._tunnel is not None:
            self._tunnel.finish()
            return
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            return
        if self.reused and self.request and not begun:
            self._pool.resend(receiver, self.request)
        else:
            self._pool.failed(self, fault := lost(exc, begun=begun, kept=self.reused)._replace(upstream=self._url))
            receiver.on_failure(fault)

    def _read_last(self) -> None:
        """Read what arrived before the sidecar's write failed. Its end of stream means nothing: after an error the kernel
        reports a reset as an end of stream."""
        last = iter(()) if self.transport is None else _left_in_kernel(self.transport)
        while self.receiver is not None and (data := next(last, b"")):
            self.data_received(data)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            return self._tunnel.upstream_ended()
        if self.receiver is None:
            self.close()
        elif self.state is _BODY and self._reader.until_eof:
            self._finish(self.receiver, self._pool.monotonic())
        elif self.transport is not None:
            self._pool.connection_closing(self)
            self.transport.abort()  # the upstream may never take pending bytes; `connection_lost` tells the receiver
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
        receiver = self.receiver
        if receiver is None:
            self._take_unasked(data)
            return
        now = self._active_at = self._pool.monotonic()
        if self.state is _ASKED:
            if not receiver.head_request:
                shapes = self._pool.shapes
                whole = shapes.read(data)
                if whole is not None:
                    self.idle_for = shapes.idle_for
                    self._release(receiver, now, keep_alive=True)
                    receiver.on_whole(whole, now)
                    return
            self._reader.begin(receiver)
            self.state = _HEAD
        self._read(receiver, data, now)

    def _read(self, receiver: ResponseSink, data: bytes, now: float) -> None:
        reader = self._reader
        progress = reader.feed(data)
        if reader.final and self.state is _HEAD:
            self.state = _BODY
        if progress is Progress.MORE:
            receiver.flush()
        elif progress is Progress.WHOLE:
            if reader.in_one_read and reader.keep_alive and not receiver.head_request:
                self._pool.shapes.learn(data)
            self._finish(receiver, now)
        elif progress is Progress.SWITCHED:
            self._start_tunnel(receiver, now)
        else:
            self._fail(receiver)

    def _take_unasked(self, data: bytes) -> None:
        """Bytes that belong to no response: those of a tunnel, or unsolicited ones."""
        if self._tunnel is not None:
            self._tunnel.from_upstream(data, self._pool.monotonic())
            return
        if not data.startswith(_LATE):
            self._pool.unsolicited(self)
        self.abort()

    def _fail(self, receiver: ResponseSink) -> None:
        """The response must not be forwarded."""
        reader = self._reader
        assert reader.fault is not None  # noqa: S101  set by the reader
        bad_switch, fault = reader.bad_switch, reader.fault._replace(upstream=self._url)
        if reader.complete:  # more bytes arrived than the response has
            self._pool.unsolicited(self)
        self.abort()
        if not bad_switch:
            self._pool.failed(self, fault)
        receiver.on_failure(fault)

    def _start_tunnel(self, receiver: ResponseSink, now: float) -> None:
        reader = self._reader
        assert reader.switch is not None  # noqa: S101  set by the reader
        self.receiver = None
        self._become(State.TUNNEL)
        self._pool.answered(self)
        self._tunnel = receiver.on_switch(self, *reader.switch)
        if reader.rest:
            self._tunnel.from_upstream(reader.rest, now)

    def _finish(self, receiver: ResponseSink, now: float) -> None:
        keep_alive = self._reader.keep_alive
        if keep_alive:
            self.idle_for = self._pool.shapes.kept_for(self._reader.keep_alive_field)
        self._release(receiver, now, keep_alive=keep_alive)
        receiver.on_complete(now)

    def _release(self, receiver: ResponseSink, now: float, *, keep_alive: bool) -> None:
        self.receiver = None
        if keep_alive and receiver.may_reuse():
            self.state = _IDLE
            if self._reading_paused:  # TLS delivers what it has decrypted, even while reading is paused
                self.resume_reading()
            self._pool.release(self, now)
        else:
            self._pool.answered(self)
            if receiver.sending:
                self.abort()  # the upstream has part of the request, and must not take it for the whole
            else:
                self.close()


def _poll_of(transport: asyncio.BaseTransport) -> Callable[[int], list[tuple[int, int]]]:
    """A function that asks the system whether a connection has input that the event loop has not read yet."""
    events = select.poll()
    events.register(transport.get_extra_info("socket").fileno(), _UNREAD)
    return events.poll


def _left_in_kernel(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """What arrived before the sidecar's write failed. The kernel still has it, but uvloop stops reading at the first error.
    Over TLS it cannot be read."""
    if transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    with contextlib.suppress(OSError):
        while data := os.read(descriptor, _READ):
            yield data
