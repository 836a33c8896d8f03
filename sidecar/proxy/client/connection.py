"""One client connection: aiohttp's request parser, and one exchange at a time, in order.

Why not `aiohttp.web.RequestHandler`: it creates a task, a future and a response object per request, and has no limits for
headers, bodies or idle time. The trusted parts of aiohttp are used unchanged: the parser, which gets security releases, and
its flow control (`BaseProtocol`, `StreamReader`).

`states` has the states of a connection, `deadlines` limits how long each may last, and `reader` produces the requests.

When the worker shuts down, an idle connection closes after its client has been silent for one second.

While a client does not read its responses, none of its further requests is started. After a full queue of requests, other
connections get their turn.
"""

import asyncio
from typing import Final

from aiohttp.streams import EMPTY_PAYLOAD

from sidecar.core.http.forwarded import ForwardedFields
from sidecar.core.http.plain_heads import HeaderSection, PlainHead
from sidecar.core.reasons import Reason
from sidecar.core.replies import refusal
from sidecar.proxy.client.certificate import forwarded_certificate
from sidecar.proxy.client.deadlines import LINGER
from sidecar.proxy.client.holding import HoldingSide
from sidecar.proxy.client.reader import RequestReader
from sidecar.proxy.client.sending import address_of, unread
from sidecar.proxy.client.states import TRANSITIONS, IllegalTransition, State
from sidecar.proxy.client.unreadable import Unreadable
from sidecar.proxy.ports import ConnectionManager, RequestInProgress, RequestToAnswer, TunnelEnd
from sidecar.proxy.request import Body
from sidecar.proxy.small_body import SmallBody
from sidecar.proxy.wire import encode_reply

_LARGE: Final = 2048  # bytes of a plain request; the price of a connection includes smaller ones
_QUIET: Final = 1.0  # seconds; a client that was silent for this long is not expected to send a request right now
# In Python 3.11, accessing an enumeration member calls a function each time.
_IDLE, _HEAD, _BUSY, _EMPTYING, _LINGERING = State.IDLE, State.HEAD, State.BUSY, State.EMPTYING, State.LINGERING
_OF_NO_ONE: Final = ForwardedFields("")


class ClientConnection(HoldingSide):
    """The server side of one client connection."""

    __slots__ = (
        "_pumping", "exchange", "forwarded", "introduced", "manager", "peer", "reader", "state", "tunnel",
    )  # fmt: skip

    def __init__(self, manager: "ConnectionManager[ClientConnection]") -> None:
        self.reader = RequestReader(self, manager.loop, manager.limits)
        super().__init__(manager.loop)
        self.manager = manager
        self._pumping = False
        self._begin_times(manager.monotonic())
        self._begin_holding()
        self.state = State.ARRIVING
        self.exchange: RequestInProgress | None = None
        self.tunnel: TunnelEnd | None = None
        self.section: HeaderSection | None = None  # the last one that was read by its shape
        self.forwarded = _OF_NO_ONE  # the fields that describe this client to the API
        self.peer = ""
        self.introduced = ""  # the client's address, if a byte-forwarding proxy reported it

    def __repr__(self) -> str:
        return f"<ClientConnection {self.peer} {self.exchange or self.state.value} +{len(self.reader.queue)}>"

    @property
    def spoke_early(self) -> bool:
        """Whether bytes arrived after an upgrade request, before its response."""
        return self.reader.spoke_early

    def end_of(self, body: Body) -> bytes:
        """The last bytes of a complete request body, which may include trailers. Can be read once."""
        return self.reader.end_of(body)

    def _become(self, state: State) -> None:
        """Change the state. An illegal transition is a defect of the sidecar: it is logged, and the connection continues."""
        if state not in TRANSITIONS[self.state]:
            self.manager.log_failure("connection", IllegalTransition(f"{self.state.value} to {state.value}"))
        self.state = state

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._become(_IDLE)
        self.manager.opened(self)
        self.active_at = self.manager.monotonic()
        self.peer = self.introduced or address_of(transport.get_extra_info("peername"))
        if self.transport is not None and transport.get_extra_info("ssl_object") is not None:
            self._note_tls(self.transport)
        self.describe()
        if self.manager.crowded:
            self._broken(Reason.OVERLOADED)

    def describe(self) -> None:
        """Describe the client to the API from now on as the current rules have it."""
        if self.transport is None:
            return
        tls = self.transport.get_extra_info("ssl_object")
        shown = None if tls is None else forwarded_certificate(tls.getpeercert(binary_form=True))
        self.forwarded = self.manager.describe(self.peer, shown)
        self.section = None  # its block contains the old description

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._become(State.CLOSED)
        self.manager.closed(self)
        if self.exchange is not None:
            self.exchange.client_left()  # first, so that it knows why its body breaks
        self.reader.close()
        self.weigh()

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.client_ended()
        # A client may half-close after its request and still wait for the answer (RFC 9112 section 9.6).
        reader = self.reader
        if self.state is _LINGERING or (self.exchange is None and not reader.queue and not reader.full):
            return False
        reader.end()
        self._eof_at = self.manager.monotonic()
        if self.state is _BUSY:
            self._become(State.HALF_CLOSED)
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is not None:
            self.exchange.client_resumed()
        else:
            self._pump()

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if self.state is _IDLE and reader.clean and not self._paused and not reader.queue:
            head = self.manager.handler.heads.read(data, self.section)
            if head is not None:
                self._begin_plain(head, data)
                return
        if self.tunnel is not None:
            self.active_at = self.manager.monotonic()
            self.tunnel.from_client(data)
            return
        if self.state is _LINGERING or reader.fault:
            return
        now = self.active_at = self.manager.monotonic()
        if reader.feed(data):
            self._head_since = now if reader.head_bytes else 0.0
        elif reader.head_bytes and not self._head_since:
            self._head_since = now
        if self.state is _EMPTYING and not reader.finishing:
            reader.forget(reader.body)
            self._become(_IDLE)
        if self.state is _IDLE or self.state is _HEAD:
            self.state = _HEAD if reader.head_bytes else _IDLE
        if reader.full and not self._buffer_paused:
            self._pause_reading_for_buffer()
        self._go_on()
        self.grown(len(data))

    def _begin_plain(self, head: PlainHead, data: bytes) -> None:
        """Start the exchange of a request that needed no parser; `data` is the read that it began with."""
        now = self.active_at = self.manager.monotonic()
        section = self.section = head.section
        self._head_since = 0.0
        self.state = _BUSY
        body: Body = EMPTY_PAYLOAD
        if section.length:
            body = SmallBody(section.length, data[head.start :])
            self.reader.begin(body)
        self.exchange = self.manager.start_exchange(self, head, body, now)
        if len(data) > _LARGE or (section.length and self.reader.finishing):
            self.note_plain(len(data))

    # The order of exchanges.

    def _pump(self) -> None:
        """Start exchanges until one has to wait. This is a loop because an exchange may end at once."""
        if self._pumping:
            return
        reader, self._pumping = self.reader, True
        try:
            while self._may_go_on():
                if reader.queue:
                    message, payload = reader.take()
                    if self._buffer_paused and not reader.full:
                        self._resume_reading_for_buffer()
                    now = self.manager.monotonic()
                    self.state = State.HALF_CLOSED if self._eof_at else _BUSY
                    self.exchange = self.manager.start_exchange(self, message, payload, now)
                    if self.exchange is not None:
                        return
                elif reader.fault is not None:
                    self._send_refusal_and_close(reader.fault)
                else:
                    if reader.full:
                        self._loop.call_soon(self._read_on)  # deferred, so that other connections get their turn
                    elif self._eof_at and self.transport is not None:
                        self.transport.close()
                    return
        finally:
            self._pumping = False

    def _may_go_on(self) -> bool:
        # A client that does not read its responses gets no more of them.
        return (self.state is _IDLE or self.state is _HEAD) and not self._paused

    def _read_on(self) -> None:
        if self.reader.full and not self.reader.queue and self._may_go_on():
            self.reader.full = False
            self._resume_reading_for_buffer()
            self.data_received(b"")  # what the parser held back

    def exchange_ended(self, exchange: RequestToAnswer, now: float) -> None:
        """The response is complete, or never will be: start the next request, or close."""
        self.manager.exchange_ended(exchange)
        self.active_at = now
        if self.transport is None or self.transport.is_closing():
            return
        self.exchange = None
        reader, payload = self.reader, exchange.payload
        if not exchange.keep_alive:
            self.close_lingering()
        elif payload is EMPTY_PAYLOAD or payload.is_eof():
            self.state = _HEAD if reader.head_bytes else _IDLE
            if payload is not EMPTY_PAYLOAD:
                reader.forget(payload)
            if reader.queue or reader.full or reader.fault is not None or self._eof_at:
                self._pump()
        elif payload is reader.body:
            if isinstance(payload, SmallBody):
                payload.drop()
            self._become(_EMPTYING)  # the rest of the body is discarded as it arrives
            self._until = now + self.manager.timeouts.request_header
        else:
            self.close_lingering()  # the rest of the body will never arrive
        if self.held:
            self.weigh()

    def start_tunnel(self, tunnel: TunnelEnd) -> None:
        """From now on, the client's bytes belong to the tunnel."""
        self._become(State.TUNNEL)
        self.tunnel = tunnel
        self._upgraded = True  # keeps flow control away from the parser
        self.reader.close()

    # Writing and closing.

    @property
    def unfinished(self) -> bool:
        """Whether a response is pending or not yet delivered."""
        if self.transport is None:
            return False
        return (
            self.exchange is not None or bool(self.reader.queue) or self.reader.full or self._unsent(self.transport) > 0
        )

    def stays(self, now: float) -> bool:
        """The worker is shutting down. Whether a request is being answered, or is or may be on its way; if not, close.

        Closing just when a client sends its next request would lose that request (RFC 9112 section 9.6). So a client that was
        active or connected within the last second may send one more; its response says `Connection: close`.
        """
        transport = self.transport
        if transport is None or self.unfinished:
            return transport is not None
        if self.state is _LINGERING or transport.is_closing():
            return False
        if self.state is not _EMPTYING and (
            self.reader.head_bytes or now - self.active_at < _QUIET or unread(transport)
        ):
            return True
        self.close_lingering()
        return False

    def close_lingering(self) -> None:
        """Close in a way that delivers the last response even if the client is still sending."""
        transport, self.tunnel = self.transport, None
        if transport is None:
            return
        self._become(_LINGERING)
        self._until = self.manager.monotonic() + LINGER
        self.reader.close()
        self._resume_transport_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _broken(self, reason: Reason) -> None:
        """Nothing after this point of the stream can be parsed, or is awaited."""
        self.reader.fail(reason)
        self._go_on()

    def _go_on(self) -> None:
        if self.state is _EMPTYING and self.reader.fault is not None:
            self.close_lingering()  # the broken request was already answered
        else:
            self._pump()

    def _send_refusal_and_close(self, fault: Unreadable) -> None:
        self.manager.report_unparsed(self, fault.reason, fault.known)
        reply = self.manager.apply_compat(refusal(fault.reason, fault.detail))
        self.write(encode_reply(reply, head_only=False, connection=b"Connection: close\r\n"))
        self.close_lingering()
