"""A request on a client connection, and its one response.

Rules:
- An exchange ends exactly once, and then reports one `RequestDone`.
- Once a byte of a response was written, no other response is possible: a later failure aborts the connection, so that the
  client recognises the response as truncated.
"""

import asyncio
from collections.abc import Callable, Set
from enum import Enum
from typing import Final, NamedTuple, Protocol

from sidecar.core.admission import VerifiedToken
from sidecar.core.causes import Fault
from sidecar.core.events import Decision, RequestDone, StreamKind
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.request_headers import NO_TRAILERS
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply, refusal, with_fields, without_code
from sidecar.proxy.ports import ClientLink, RequestSender
from sidecar.proxy.request import Body, Message, request_id
from sidecar.proxy.request_body import check_declared, read_at_hand, read_whole, rest_is_small
from sidecar.proxy.response import StreamedResponse
from sidecar.proxy.rules import RequestRules
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.wire import encode_reply

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSING: Final = frozenset([400, 405, 408, 413, 414, 431])


class Outcome(Enum):
    """How an exchange ended."""

    ANSWERED = "answered"  # by the sidecar; nothing went to the upstream
    WHOLE = "whole"  # with the upstream's response, in one piece
    STREAMED = "streamed"  # with the upstream's response, forwarded as it arrived
    TUNNEL = "tunnel"  # with 101, after the end of the tunnel
    GIVEN_UP = "given up"  # by the sidecar, because the upstream's response did not arrive or was no longer awaited
    ABORTED = "aborted"  # the connection was cut within a response
    CLIENT_LEFT = "client left"  # before the response was complete


# In Python 3.11, accessing an enumeration member calls a function each time.
_WHOLE, _STREAMED = Outcome.WHOLE, Outcome.STREAMED


Flow = tuple[float | None, StreamKind | None]
"""`first_byte_seconds` and `stream` of a `RequestDone`."""


class Tally(Protocol):
    """Counts requests that the API answered completely. The arguments are those of a `RequestDone`."""

    def count_whole(self, decision: Decision, status: int, seconds: float, upstream_seconds: float) -> None:
        """The answer came in one piece."""

    def count_streamed(
        self,
        decision: Decision,
        status: int,
        seconds: float,
        upstream_seconds: float,
        first_byte_seconds: float,
        stream: StreamKind | None,
    ) -> None:
        """The answer was forwarded as it came."""


class Services(NamedTuple):
    """What all exchanges of a worker share. `tally` is told of a request that the API answered completely, instead of
    `report`; it is `None` when consumers need more than it is told. `switching` are the
    exchanges that are or may become a tunnel; `tunnel_idle` is in seconds, `body_limit` in bytes; `tapdata`: refusals carry its
    integer `code`. `log_failure` reports a defect of the sidecar."""

    pool: RequestSender
    report: Callable[[RequestDone], None]
    tally: Tally | None
    monotonic: Callable[[], float]
    tunnels: set[Tunnel]
    switching: set["Answering"]
    tunnel_idle: float
    body_limit: int | None
    tapdata: bool
    log_failure: Callable[[str, Exception], None]

    def apply_compat(self, reply: Reply) -> Reply:
        """Adapt a reply of the sidecar to what the callers of this API expect."""
        return reply if self.tapdata else without_code(reply)


class Answering:
    """The client's half of an exchange: a request, from its head to the end of its response."""

    # Class attributes hold the values that most exchanges never change; this saves setting them for each.
    wanted = True
    waiting = False  # for its own body, which the sidecar reads before it processes the request
    outcome: Outcome | None = None  # set when the exchange has ended
    expects_continue = False
    trailer_names: Set[bytes] = NO_TRAILERS
    decision = Decision.REFUSED
    reason: Reason | None = None
    fault: Fault | None = None  # the upstream's fault that explains the reason
    client_id: str | None = None
    user: str | None = None
    told = False  # already reported by an event of its own
    path = ""
    shared: Fields = ()  # CORS fields for every reply of the sidecar, so that a page may read it
    status = 0
    endpoint: str | None = None  # of the sidecar, that the request is for
    task: asyncio.Task[None] | None = None
    upgrade = b""  # the protocol that the upstream is asked to switch to
    rules: RequestRules  # that decide the request from beginning to end
    verified: VerifiedToken | None = None  # the token that admitted the request
    _upstream_seconds: float | None = None
    _response: StreamedResponse | None = None  # set unless the response arrives in one piece
    _head_written = False

    def __init__(
        self,
        services: Services,
        connection: ClientLink,
        message: Message,
        payload: Body,
        now: float,
    ) -> None:
        self.connection = connection
        self.message = message
        self.payload = payload
        self._services = services
        self.started = now
        self.head_request = message.method == "HEAD"
        # After an upgrade that was requested but not performed, the parser cannot interpret what follows.
        self.keep_alive = not message.should_close and not message.upgrade

    def __repr__(self) -> str:
        state = self.status or "unanswered"
        return f"<{type(self).__name__} {self.message.method} {self.decision} {self.outcome.value if self.outcome else state}>"

    @property
    def ended(self) -> bool:
        """Whether the response is complete, or never will be."""
        return self.outcome is not None

    @property
    def answer_begun(self) -> bool:
        """Whether a byte of the response was written."""
        return self._head_written

    def refuse(self, reason: Reason, detail: str | None = None, *headers: tuple[str, str]) -> None:
        """Send a refusal with its JSON body; a malformed request (4xx in `_CLOSING`) also closes the connection."""
        if reason.status in _CLOSING:
            self.keep_alive = False
        self.respond(refusal(reason, detail, *headers))

    def respond(self, reply: Reply) -> None:
        """Send a reply of the sidecar; if a response has already begun, abort instead."""
        self._answer(reply, Outcome.ANSWERED)

    def _answer(self, reply: Reply, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        if self._head_written:
            self.reason = reply.reason
            self._abort()
            return
        self._response = None  # a response that was collected but not written is discarded
        self._plan_rest_of_request()
        self.status = reply.status
        self.reason = reply.reason
        self.client_id = reply.client_id or self.client_id
        self.user = reply.user or self.user
        self.told = reply.told
        reply = self._services.apply_compat(with_fields(reply, self.shared))
        self.connection.write(encode_reply(reply, head_only=self.head_request, connection=self._connection_line()))
        self._end(outcome)

    def await_body(self) -> None:
        """Announce `read_body`. Raises `Refused` when too many requests wait for their body."""
        if not self.payload.is_eof():
            self.connection.manager.begin_waiting(self)

    async def read_body(self, limit: int) -> bytes:
        """The whole body of the request. Raises `BodyTooLarge` as soon as it is known to exceed `limit` bytes,
        `RequestBroken`, and `Refused` when the body does not arrive in time, or there is no longer room for the request."""
        check_declared(self.message, limit)
        if self.expects_continue and not self.payload.is_eof():
            self.connection.write(_CONTINUE)
            self.expects_continue = False
        if not self.waiting:
            return read_at_hand(self.payload, limit)
        try:
            # Bodies that the sidecar reads are small, so they get the time limit of a head.
            return await read_whole(self.payload, limit, self.connection.manager.timeouts.request_header)
        finally:
            if self.waiting:
                self.connection.manager.end_waiting(self)

    def _abort(self) -> None:
        """Cut the connection, so that the client recognises the response as incomplete."""
        self._let_go()
        self.keep_alive = False
        self.connection.abort(reset=self._response is not None and self._response.ends_by_close)
        if self.outcome is None:
            self._end(Outcome.ABORTED)

    def _let_go(self) -> None:
        """Stop other work for this exchange; its result is no longer wanted."""
        self.wanted = False

    def _plan_rest_of_request(self) -> None:
        """The response precedes the end of the request: a small rest of the body is read and dropped; a large one closes the
        connection."""
        payload = self.payload
        if not payload.is_eof() and not rest_is_small(self.message, payload, expects_continue=self.expects_continue):
            self.keep_alive = False

    def _connection_line(self) -> bytes:
        if not self.keep_alive or self.connection.manager.draining:
            self.keep_alive = False
            return b"Connection: close\r\n"
        return b"" if self.message.version >= (1, 1) else b"Connection: keep-alive\r\n"

    def _end(self, outcome: Outcome, now: float | None = None) -> None:
        """The single end of the exchange, at `now` (monotonic seconds): report it, and release the connection."""
        self.outcome = outcome
        self.wanted = False
        if self.upgrade:
            self._services.switching.discard(self)
        if now is None:
            now = self._services.monotonic()
        tally = self._services.tally
        if tally is not None and outcome is _WHOLE:
            tally.count_whole(self.decision, self.status, now - self.started, self._upstream_seconds)  # type: ignore[arg-type]
        elif tally is not None and outcome is _STREAMED:
            upstream, (first_byte, kind) = self._upstream_seconds, self._flow(now)
            tally.count_streamed(self.decision, self.status, now - self.started, upstream, first_byte, kind)  # type: ignore[arg-type]
        else:
            self._services.report(self._done(now))
        self.connection.exchange_ended(self, now)

    def _done(self, now: float) -> RequestDone:
        verified = self.verified
        return RequestDone(
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
            self.endpoint,
            *self._flow(now),
            request_id(self.message),
        )

    def _flow(self, now: float) -> Flow:
        """For how long the upstream was awaited, if it answered; and what flowed for so long that the durations say nothing
        about speed."""
        raise NotImplementedError
