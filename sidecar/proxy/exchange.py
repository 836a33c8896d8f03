"""One request and its response: answered by the sidecar, or carried to the upstream and back.

`answering` has the client's response and the end of an exchange, `response` a response that is forwarded as it arrives, and
`request_body` the body of the request.
"""

from typing import Final

from aiohttp.streams import EMPTY_PAYLOAD

from sidecar.core.causes import Fault
from sidecar.core.http.response_headers import ResponseHeaders, is_event_stream
from sidecar.core.http.trailers import trailer_section
from sidecar.core.reasons import Plane, Reason
from sidecar.core.replies import refusal
from sidecar.proxy.answering import Answering, Flow, Outcome
from sidecar.proxy.ports import UpstreamLink, WholeResponse
from sidecar.proxy.request import BodyTooLarge
from sidecar.proxy.request_body import BodySender, check_declared, chunk, read_at_hand
from sidecar.proxy.response import StreamedResponse
from sidecar.proxy.small_body import SmallBody
from sidecar.proxy.tunnel import Tunnel

_SAFE: Final = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])
_CLIENT_LEFT: Final = 499
_HTTP_1_1: Final = (1, 1)
# In seconds. The duration of a body that flows for longer says how long its sender or its reader took, not how fast anyone was.
_LONG: Final = 10.0
# In Python 3.11, accessing an enumeration member calls a function each time.
_WHOLE: Final = Outcome.WHOLE


class Exchange(Answering):
    """A request on a client connection and its outcome; all exchanges share one `Services`."""

    # Class attributes hold the values that most exchanges never change; this saves setting them for each.
    resendable = False
    sent_at = (
        0.0  # monotonic seconds: when the request was sent, with its body unless the upstream answered before its end
    )
    tunnel: Tunnel | None = None
    _body: BodySender | None = None  # set when the body is streamed
    _waiting_head: bytes | None = None  # the head of a request whose small body has not arrived yet
    _upstream: UpstreamLink | None = None
    _flows_since = 0.0  # monotonic seconds: when the head of the response came, unless with the whole of it
    _long = False  # bytes of a body flowed for a long time, or the response is an event stream

    @property
    def streaming(self) -> bool:
        """Whether bytes flow for an unlimited time: a response, an upload or a tunnel."""
        return self._head_written or self._body is not None or self._waiting_head is not None

    @property
    def awaits_switch(self) -> bool:
        """Whether 101 is an acceptable response: not when the client has already sent more than its request."""
        return bool(self.upgrade) and not self.connection.spoke_early

    @property
    def sending(self) -> bool:
        """Whether more of the request's body has to be sent to the upstream."""
        return self._body is not None and self._body.sending

    # Carried to the upstream.

    def forward(self, head: bytes, body: bytes | None = None) -> None:
        """Forward the request. `body` is the whole body if it was already read; otherwise the body is streamed."""
        self.sent_at = self.started if self.task is None else self._services.monotonic()
        payload = self.payload
        if payload is EMPTY_PAYLOAD and body is None and not self.message.chunked:
            self.resendable = self.message.method in _SAFE
        else:
            try:
                head += self._begin_body(body)
            except BodyTooLarge:
                self.refuse(Reason.BODY_TOO_LARGE)
                return
            if isinstance(payload, SmallBody) and not payload.is_eof():
                self._waiting_head = head
                payload.when_ended(self._send_small)
                return
        self._services.pool.dispatch(self, head)

    def _send_small(self) -> None:
        """A small body has arrived, which is sent with the head in one write, or its rest will not arrive."""
        head, self._waiting_head = self._waiting_head, None
        if self.outcome is not None or head is None:
            return
        if self.payload.exception() is not None:
            self._give_up_sending(Reason.MALFORMED_REQUEST)
            return
        self.sent_at = self._services.monotonic()
        self._services.pool.dispatch(self, head + self.payload.read_nowait())

    def _begin_body(self, body: bytes | None) -> bytes:
        """The bytes to send with the head: `body`, which was already read, or a body that has arrived completely; nothing
        when the body is streamed. Raises `BodyTooLarge`."""
        limit, message, payload = self._services.body_limit, self.message, self.payload
        if body is not None:
            if limit is not None and len(body) > limit:
                raise BodyTooLarge
            return body
        if limit is not None:
            check_declared(message, limit)
        if isinstance(payload, SmallBody):
            return payload.read_nowait() if payload.is_eof() else b""
        if not payload.is_eof():
            self._body = BodySender(
                message,
                payload,
                limit=limit,
                last_chunk=self._last_chunk,
                passed=self._body_passed,
                broken=self._give_up_sending,
            )
            return b""
        rest = read_at_hand(payload, limit) if not payload.at_eof() else b""
        if message.chunked:
            rest = chunk(rest) + self._last_chunk()
        self.resendable = not rest and message.method in _SAFE
        return rest

    def on_connected(self, connection: UpstreamLink) -> None:
        self._upstream = connection
        if self.connection.writing_paused:
            connection.pause_reading()
        if self._body is not None:
            self._body.start(connection, self.connection.loop)

    def _give_up_sending(self, reason: Reason) -> None:
        """Do not send the rest of the body. If the client is gone, its connection has already ended this exchange."""
        if self.outcome is None:
            self._fail(reason)

    def _body_passed(self) -> None:
        """The whole body was sent: from now on the upstream is awaited, not the client."""
        now = self._services.monotonic()
        self._long = self._long or now - self.sent_at > _LONG
        if not self.status:
            self.sent_at = now

    def _last_chunk(self) -> bytes:
        """The end of a chunked request, with the announced trailers."""
        end = self.connection.end_of(self.payload) if self.trailer_names else b""
        return b"0\r\n%b\r\n" % trailer_section(end, self.trailer_names)

    def may_reuse(self) -> bool:
        if self.upgrade:
            return False  # the upstream's handling of a further request is unpredictable
        return self._body is None or self._body.sent

    @property
    def _streamed(self) -> StreamedResponse:
        response = self._response
        if response is None:
            response = self._response = StreamedResponse(modern=self.message.version >= (1, 1))
        return response

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        if status == 100:
            if not self.expects_continue:
                return
            self.expects_continue = False
        self._streamed.informational(status, reason, headers)

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.status = status
        if self.upgrade:
            self._services.switching.discard(self)  # the response was not 101
        response = self._streamed
        response.frame(headers, bodyless=self.head_request or status in (204, 304))
        if response.ends_by_close:
            self.keep_alive = False
        self._plan_rest_of_request()
        response.head(status, reason, headers, self._connection_line())
        self._flows_since = self._services.monotonic()
        if headers.length is None and is_event_stream(headers):
            self._long = True

    def flows_long(self, now: float) -> bool:
        """Whether it is an event stream, or bytes of a body have been flowing for a long time. Not for tunnels."""
        if self.outcome is not None or self.tunnel is not None:
            return False
        if self._long or not self.status:
            return self._long or (self.sending and now - self.sent_at > _LONG)
        return now - self._flows_since > _LONG

    def _flow(self, now: float) -> Flow:
        if self.outcome is _WHOLE:
            return self._upstream_seconds, None
        since = self._flows_since
        first_byte = since - self.sent_at if since else None
        if self.tunnel is not None:
            return first_byte, "tunnel"
        return first_byte, "stream" if self._long or 0 < since < now - _LONG else None

    def on_body(self, data: bytes) -> None:
        self._streamed.body(data)

    def on_trailers(self, pieces: list[bytes]) -> None:
        self._streamed.trailers(pieces)

    def flush(self) -> None:
        data = self._streamed.take()
        if data:
            self._head_written = self.status != 0
            self.connection.write(data)

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> Tunnel:
        self.status = 101
        self._flows_since = self._services.monotonic()
        self.keep_alive = False
        self._head_written = True
        self._streamed.switch(reason, headers)
        self.connection.write(self._streamed.take())
        self.tunnel = Tunnel(
            self,
            self.connection,
            connection,
            websocket=headers.upgrade.lower() == b"websocket",
            idle=self._services.tunnel_idle,
            now=self._services.monotonic(),
        )
        self._services.tunnels.add(self.tunnel)
        self.connection.start_tunnel(self.tunnel)
        return self.tunnel

    def tunnel_ended(self) -> None:
        """The tunnel is over; it has closed both sides."""
        if self.tunnel is not None:
            self._services.tunnels.discard(self.tunnel)
        self._upstream = None
        if self.outcome is None:
            self._end(Outcome.TUNNEL)

    def end_early(self, reason: Reason) -> None:
        """The token that admitted the request ended while bytes were flowing."""
        if self.outcome is not None:
            return
        self.reason = reason
        if self.tunnel is not None:
            self.tunnel.end_early(reason, self._services.monotonic())
        elif self._head_written:
            self._abort()
        else:
            self.cancel(reason)

    def cancel(self, reason: Reason) -> None:
        """End the exchange without the upstream's response, none of which was forwarded yet."""
        self._let_go()
        self.keep_alive = False
        self._answer(refusal(reason), Outcome.GIVEN_UP)

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        self.status, head, body = whole
        if self.upgrade:
            self._services.switching.discard(self)
        if self.payload is not EMPTY_PAYLOAD:
            self._plan_rest_of_request()
        self._head_written = True
        # The upstream's connection is already back in the pool. A slow client must not pause it there, so it is released
        # before anything is written.
        self._upstream = None
        self._upstream_seconds = now - self.sent_at
        connection = self.connection
        plain = self.keep_alive and self.message.version == _HTTP_1_1 and not connection.manager.draining
        connection.write(b"".join((head, b"\r\n" if plain else self._connection_line() + b"\r\n", body)))
        if self._body is not None:
            self._body.stop()
            if self._long:
                self._flows_since = now
                self._end(Outcome.STREAMED, now)
                return
        self._end(_WHOLE, now)

    def on_complete(self, now: float) -> None:
        if self.outcome is not None:
            return
        self._streamed.end()
        self._upstream = None
        self._upstream_seconds = now - self.sent_at
        self.flush()
        self.stop_sending()
        self._end(Outcome.STREAMED, now)

    def on_failure(self, fault: Fault) -> None:
        self.fault = fault
        self._fail(fault.reason)

    def _fail(self, reason: Reason) -> None:
        if self._upstream is not None:
            self._upstream.abort()  # the upstream may still answer what it received; that answer is no longer wanted
            self._upstream = None
        if reason.plane is Plane.UPSTREAM:  # otherwise the API owes nothing, and may not even have been asked
            self._upstream_seconds = self._services.monotonic() - self.sent_at
        self.stop_sending()
        self._answer(refusal(reason), Outcome.GIVEN_UP)  # a head that was collected but not written is discarded

    def stop_sending(self) -> None:
        if self._body is not None:
            self._body.stop()

    # The client's side.

    def client_paused(self) -> None:
        """The client accepts no more of the response for now."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_resumed(self) -> None:
        """The client accepts more again."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    def client_left(self) -> None:
        """The client connection is gone: close the upstream connection to notify the upstream. The sidecar's own endpoints
        finish their work."""
        if self.tunnel is not None:
            self.tunnel.finish()
        if self.outcome is not None:
            return
        self.status = self.status or _CLIENT_LEFT
        self._let_go()
        self._end(Outcome.CLIENT_LEFT)

    def _let_go(self) -> None:
        super()._let_go()
        self.stop_sending()
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None


def _share_names() -> None:
    """Have CPython share the names of the attributes that nearly every exchange sets. It shares those that the first few
    instances set, and no more than thirty: an exchange with another one gets a dictionary of its own, which costs more than all
    metrics. Without this, the first requests of a process would decide which ones are shared."""
    first = Exchange.__new__(Exchange)
    for name in (
        *(
            "connection",
            "message",
            "payload",
            "_services",
            "started",
            "head_request",
            "keep_alive",
        ),  # from the beginning
        *("rules", "path", "decision", "client_id", "verified", "sent_at", "resendable", "_upstream"),  # forwarded
        *("status", "_head_written", "_upstream_seconds", "outcome", "wanted", "reason"),  # answered
        *("_response", "_flows_since", "endpoint", "task"),  # in many
    ):
        setattr(first, name, None)


_share_names()
