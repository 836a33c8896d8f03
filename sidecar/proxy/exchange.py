"""One request and its response: answered by us, or carried to the upstream and back.

Rules:
- An exchange ends exactly once, and then reports one `RequestDone`.
- Once a byte of a response was written, no other response can be: what fails later aborts the connection, so that the
  client sees a truncated answer as truncated.
- Response bytes are collected in `_out` and written once per read from the upstream.
- A body flows from the client to the upstream in a task of its own, as fast as the slower side takes it.
"""

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import Final, NamedTuple

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from sidecar.core.admission import VerifiedToken
from sidecar.core.causes import Fault
from sidecar.core.events import Decision, RequestDone
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.request_headers import NO_TRAILERS
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.core.http.trailers import trailer_section
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply, refusal, with_fields, without_code
from sidecar.proxy.ports import ClientLink, RequestSender, UpstreamLink, WholeResponse
from sidecar.proxy.request import BodyTooLarge, declared_length
from sidecar.proxy.rules import RequestRules
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.wire import encode_reply

_SAFE: Final = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])
_CLIENT_LEFT: Final = 499
_SMALL_REST: Final = 64 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


Tally = Callable[[Decision, int, float, float | None], None]
"""Told of a request that ended without a reason: its decision, status, seconds and seconds upstream."""


class Services(NamedTuple):
    """What every exchange of a worker shares. `tally` is told of a request that ended without a reason, not `report`, when
    nobody asks for more than its decision, status, seconds and seconds upstream. `switching` are those that may become a
    tunnel or are one; `tunnel_idle` in seconds, `body_limit` in bytes; `tapdata`: refusals have its integer `code`.
    `log_failure` is told of a defect of ours."""

    pool: RequestSender
    report: Callable[[RequestDone], None]
    tally: Tally | None
    monotonic: Callable[[], float]
    tunnels: set[Tunnel]
    switching: set["Exchange"]
    tunnel_idle: float
    body_limit: int | None
    tapdata: bool
    log_failure: Callable[[str, Exception], None]

    def worded(self, reply: Reply) -> Reply:
        """A reply of ours as those expect it who call this API."""
        return reply if self.tapdata else without_code(reply)


class Exchange:
    """A request on a client connection, from its head to the end of its response."""

    # What most exchanges never change stands here once, instead of being written for each.
    resendable = False
    wanted = True
    waiting = False  # for its own body, which we read before it goes on
    ended = False
    expects_continue = False
    trailer_names: Set[bytes] = NO_TRAILERS
    decision = Decision.REFUSED
    reason: Reason | None = None
    fault: Fault | None = None  # what of the upstream's is behind the reason
    client_id: str | None = None
    user: str | None = None
    told = False  # by an event of its own
    path = ""
    shared: Fields = ()  # what any answer of ours carries, so that a page may read it
    status = 0
    task: asyncio.Task[None] | None = None
    sent_at = 0.0
    upgrade = b""  # the protocol that the upstream is asked to switch to
    rules: RequestRules  # that it is decided by, from its beginning to its end
    verified: VerifiedToken | None = None  # what the request was admitted by
    tunnel: Tunnel | None = None
    _body_streams = False
    _body_task: asyncio.Task[None] | None = None
    _upstream: UpstreamLink | None = None
    _upstream_seconds: float | None = None
    _chunked_out = False
    _trailers: Sequence[bytes] = ()
    _ends_by_close = False  # the end of the connection is the end of the body
    _head_written = False

    def __init__(
        self,
        services: Services,
        connection: ClientLink,
        message: RawRequestMessage,
        payload: StreamReader,
        now: float,
    ) -> None:
        self.connection = connection
        self.message = message
        self.payload = payload
        self._services = services
        self.started = now
        self.head_request = message.method == "HEAD"
        # An upgrade that was asked for and not done leaves the parser unsure of what follows.
        self.keep_alive = not message.should_close and not message.upgrade
        self._out: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Exchange {self.message.method} {self.decision} {self.status or 'unanswered'}>"

    @property
    def answer_begun(self) -> bool:
        """Whether a byte of the response was written."""
        return self._head_written

    @property
    def streaming(self) -> bool:
        """Whether bytes flow for as long as they like: a response, an upload or a tunnel."""
        return self._head_written or self._body_streams

    @property
    def awaits_switch(self) -> bool:
        """Whether 101 would be an answer: never when the client has sent more than its request already."""
        return bool(self.upgrade) and not self.connection.spoke_early

    @property
    def sending(self) -> bool:
        """Whether more of the request's body is to go to the upstream."""
        return self._body_task is not None and not self._body_task.done()

    # Answered by us.

    def refuse(self, reason: Reason, detail: str | None = None, *headers: tuple[str, str]) -> None:
        """Answer with the refusal's JSON body; `reason.status` 4xx for a malformed request closes the connection."""
        if reason.status in (400, 405, 408, 413, 414, 431):
            self.keep_alive = False
        self.respond(refusal(reason, detail, *headers))

    def respond(self, reply: Reply) -> None:
        """Answer with a reply of ours, unless a response has begun: then only aborting is left."""
        if self.ended:
            return
        if self._head_written:
            self.reason = reply.reason
            self._abort()
            return
        self._plan_rest_of_request()
        self.status = reply.status
        self.reason = reply.reason
        self.client_id = reply.client_id or self.client_id
        self.user = reply.user or self.user
        self.told = reply.told
        reply = self._services.worded(with_fields(reply, self.shared))
        self.connection.write(encode_reply(reply, head_only=self.head_request, connection=self._connection_line()))
        self._end()

    def await_body(self) -> None:
        """Announce `read_body`. Raises `Refused` when too many are waiting for theirs."""
        if not self.payload.is_eof():
            self.connection.listener.begin_waiting(self)

    async def read_body(self, limit: int) -> bytes:
        """The whole body of the request. Raises `BodyTooLarge` beyond `limit` bytes, as soon as that is known,
        `RequestBroken`, and `Refused` when it does not come in time, or there is no place for the request any more."""
        length = declared_length(self.message)
        if length is not None and length > limit:
            raise BodyTooLarge
        if self.expects_continue and not self.payload.is_eof():
            self.connection.write(_CONTINUE)
            self.expects_continue = False
        if not self.waiting:
            return bytes(self._within(self.payload.read_nowait(), limit))
        body = bytearray()
        try:
            # A body of ours is small: it may take as long as a head.
            async with asyncio.timeout(self.connection.listener.timeouts.request_header):
                while data := await self.payload.readany():
                    body += data
                    self._within(body, limit)
        except TimeoutError:
            raise Refused(Reason.REQUEST_TIMEOUT) from None
        finally:
            if self.waiting:
                self.connection.listener.end_waiting(self)
        return bytes(body)

    @staticmethod
    def _within(body: bytes | bytearray, limit: int) -> bytes | bytearray:
        if len(body) > limit:
            raise BodyTooLarge
        return body

    # Carried to the upstream.

    def forward(self, head: bytes, body: bytes | None = None) -> None:
        """Send the request on. `body` is the whole body when it was read already; else it is streamed."""
        limit = self._services.body_limit
        if limit is not None:
            length = declared_length(self.message) if body is None else len(body)
            if (length or 0) > limit:
                self.refuse(Reason.BODY_TOO_LARGE)
                return
        self.sent_at = self.started if self.task is None else self._services.monotonic()
        payload = self.payload
        if payload is EMPTY_PAYLOAD and not self.message.chunked and body is None:
            self.resendable = self.message.method in _SAFE
        elif body is not None:
            head += body
        elif payload.is_eof():
            rest = payload.read_nowait() if not payload.at_eof() else b""
            if limit is not None and len(rest) > limit:
                self.refuse(Reason.BODY_TOO_LARGE)
                return
            if self.message.chunked:
                rest = (b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + self._last_chunk()
            head += rest
            self.resendable = not rest and self.message.method in _SAFE
        else:
            self._body_streams = True
        self._services.pool.dispatch(self, head)

    def on_connected(self, connection: UpstreamLink) -> None:
        self._upstream = connection
        if self.connection.writing_paused:
            connection.pause_reading()
        if self._body_streams:
            self._body_task = self.connection.loop.create_task(self._send_body(connection))

    async def _send_body(self, upstream: UpstreamLink) -> None:
        chunked = self.message.chunked
        left = self._services.body_limit
        try:
            while data := await self.payload.readany():
                if left is not None:
                    left -= len(data)
                    if left < 0:
                        upstream.abandon()
                        self._fail(Reason.BODY_TOO_LARGE)
                        return
                upstream.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                await upstream.drain()
            if chunked:
                upstream.write(self._last_chunk())
        except Exception:  # noqa: BLE001  aiohttp gives the payload whatever broke: a bad chunk, a lost connection
            # The upstream must not take a part for the whole; the connection's owner answers the client.
            upstream.abandon()
            if not self.ended:
                self._fail(Reason.MALFORMED_REQUEST)

    def _last_chunk(self) -> bytes:
        """The end of a chunked request, with the trailers that were announced."""
        end = self.connection.end_of(self.payload) if self.trailer_names else b""
        return b"0\r\n%b\r\n" % trailer_section(end, self.trailer_names)

    def may_reuse(self) -> bool:
        if self.upgrade:
            return False  # who knows what it would do with the next request
        return not self._body_streams or (self._body_task is not None and self._body_task.done())

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        if status == 100:
            if not self.expects_continue:
                return
            self.expects_continue = False
        if self.message.version >= (1, 1):
            self._out += [b"HTTP/1.1 %d %b\r\n" % (status, reason), *headers.pieces, b"\r\n"]

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.status = status
        if self.upgrade:
            self._services.switching.discard(self)  # it was not 101
        bodyless = self.head_request or status in (204, 304)
        if headers.chunked or (headers.length is None and not bodyless):
            if self.message.version >= (1, 1):
                self._chunked_out = not bodyless
                headers.pieces.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self.keep_alive = False
                self._ends_by_close = True
        if not self.payload.is_eof():
            self._plan_rest_of_request()
        out = self._out
        out.append(b"HTTP/1.1 %d %b\r\n" % (status, reason))
        out += headers.pieces
        if status == 426 and headers.upgrade:  # it has to name what it wants (RFC 9110 section 15.5.22)
            out.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % headers.upgrade)
        out += (self._connection_line(), b"\r\n")

    def on_body(self, data: bytes) -> None:
        if self._chunked_out:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def on_trailers(self, pieces: list[bytes]) -> None:
        self._trailers = pieces

    def flush(self) -> None:
        if self._out:
            self._head_written = self.status != 0
            out, self._out = self._out, []
            self.connection.write(b"".join(out))

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> Tunnel:
        self.status = 101
        self.keep_alive = False
        self._head_written = True
        head = [b"HTTP/1.1 101 %b\r\n" % reason, *headers.pieces, b"Connection: Upgrade\r\n"]
        self.connection.write(b"".join([*self._out, *head, b"Upgrade: %b\r\n\r\n" % headers.upgrade]))
        self._out = []
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
        if not self.ended:
            self._end()

    def end_early(self, reason: Reason) -> None:
        """The token that admitted this ended while bytes were flowing."""
        if self.ended:
            return
        self.reason = reason
        if self.tunnel is not None:
            self.tunnel.end_early(reason, self._services.monotonic())
        elif self._head_written:
            self._abort()
        else:
            self.give_up(reason)

    def give_up(self, reason: Reason) -> None:
        """End this without the upstream's answer, of which nothing was passed on yet."""
        self._release_upstream()
        self._out = []
        self.keep_alive = False
        self.respond(refusal(reason))

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        self.status, head, body = whole
        if self.upgrade:
            self._services.switching.discard(self)
        if self.payload is not EMPTY_PAYLOAD and not self.payload.is_eof():
            self._plan_rest_of_request()
        self._head_written = True
        # The upstream's connection is in the pool by now. A client that takes no more must not pause it there, so it is let go
        # before anything is written.
        self._upstream = None
        self._upstream_seconds = now - self.sent_at
        connection = self.connection
        plain = self.keep_alive and self.message.version is HttpVersion11 and not connection.listener.draining
        connection.write(b"".join((head, b"\r\n" if plain else self._connection_line() + b"\r\n", body)))
        if self._body_task is not None:
            self._stop_body()
        self._end(now)

    def on_complete(self, now: float) -> None:
        if self.ended:
            return
        if self._chunked_out:
            self._out += (b"0\r\n", *self._trailers, b"\r\n")
        self._upstream = None
        self._upstream_seconds = now - self.sent_at
        self.flush()
        self._stop_body()
        self._end(now)

    def on_failure(self, fault: Fault) -> None:
        self.fault = fault
        self._fail(fault.reason)

    def _fail(self, reason: Reason) -> None:
        if self._upstream is not None:
            self._upstream.abandon()  # it may still have an answer to what it got: nobody wants that any more
            self._upstream = None
        self._upstream_seconds = self._services.monotonic() - self.sent_at
        self._stop_body()
        self._out = []  # a head that was only collected is not sent: a proper answer is still possible
        self.respond(refusal(reason))

    def stop_sending(self) -> None:
        self._stop_body()

    def _stop_body(self) -> None:
        task = self._body_task
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()

    # The client's side.

    def client_paused(self) -> None:
        """The client does not take more of the response."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_resumed(self) -> None:
        """It does again."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    def client_left(self) -> None:
        """The connection is gone: the upstream is told by closing its connection; our own endpoints finish their work."""
        if self.tunnel is not None:
            self.tunnel.finish()
        if self.ended:
            return
        self.status = self.status or _CLIENT_LEFT
        self._release_upstream()
        self._end()

    def _abort(self) -> None:
        self._release_upstream()
        self.keep_alive = False
        self.connection.abort(reset=self._ends_by_close)
        if not self.ended:
            self._end()

    def _release_upstream(self) -> None:
        self.wanted = False
        self._stop_body()
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None

    def _plan_rest_of_request(self) -> None:
        """The response comes before the end of the request: a small rest is read and dropped, a large one is not."""
        if not self.payload.is_eof():
            length = declared_length(self.message)
            # Without 100 the client may send its body or not: nobody can know what comes next.
            unknown = self.expects_continue or length is None or self.payload.exception() is not None
            if unknown or (length or 0) > _SMALL_REST:
                self.keep_alive = False

    def _connection_line(self) -> bytes:
        if not self.keep_alive or self.connection.listener.draining:
            self.keep_alive = False
            return b"Connection: close\r\n"
        return b"" if self.message.version >= (1, 1) else b"Connection: keep-alive\r\n"

    def _end(self, now: float | None = None) -> None:
        self.ended = True
        self.wanted = False
        if self.upgrade:
            self._services.switching.discard(self)
        if now is None:
            now = self._services.monotonic()
        services = self._services
        if self.reason is None and services.tally is not None:
            services.tally(self.decision, self.status, now - self.started, self._upstream_seconds)
            self.connection.exchange_ended(self, now)
            return
        verified = self.verified
        services.report(
            RequestDone(
                self.decision,
                self.status,
                now - self.started,
                self._upstream_seconds,
                self.reason,
                self.message.method,
                self.path,
                self.client_id,
                self.connection.peer,
                self.fault,
                self.user or (verified.token.user if verified is not None else None),
                self.told,
            )
        )
        self.connection.exchange_ended(self, now)
