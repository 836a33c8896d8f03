"""A request on a client connection, and the one answer that it gets.

Rules:
- An exchange ends exactly once, and then reports one `RequestDone`.
- Once a byte of a response was written, no other response can be: what fails later aborts the connection, so that the
  client sees a truncated answer as truncated.
"""

import asyncio
from collections.abc import Callable, Set
from enum import Enum
from typing import Final, NamedTuple

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.admission import VerifiedToken
from sidecar.core.causes import Fault
from sidecar.core.events import Decision, RequestDone
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.request_headers import NO_TRAILERS
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply, refusal, with_fields, without_code
from sidecar.proxy.ports import ClientLink, RequestSender
from sidecar.proxy.request_body import check_declared, read_at_hand, read_whole, rest_is_small
from sidecar.proxy.response import StreamedResponse
from sidecar.proxy.rules import RequestRules
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.wire import encode_reply

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSING: Final = frozenset([400, 405, 408, 413, 414, 431])


class Outcome(Enum):
    """How an exchange ended."""

    ANSWERED = "answered"  # by us, and nothing went to the upstream
    WHOLE = "whole"  # the upstream's answer, in one piece
    STREAMED = "streamed"  # the upstream's answer, as it came
    TUNNEL = "tunnel"  # 101, and the tunnel is over
    GIVEN_UP = "given up"  # answered by us, because the upstream's answer did not come or was not waited for
    ABORTED = "aborted"  # the connection was cut within an answer
    CLIENT_LEFT = "client left"  # before it had its answer


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
    switching: set["Answering"]
    tunnel_idle: float
    body_limit: int | None
    tapdata: bool
    log_failure: Callable[[str, Exception], None]

    def apply_compat(self, reply: Reply) -> Reply:
        """A reply of ours as those expect it who call this API."""
        return reply if self.tapdata else without_code(reply)


class Answering:
    """A request, from its head to the end of its response, as far as it concerns the client."""

    # What most exchanges never change is written here once, and not for each.
    wanted = True
    waiting = False  # for its own body, which we read before it goes on
    outcome: Outcome | None = None  # once it has ended
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
    upgrade = b""  # the protocol that the upstream is asked to switch to
    rules: RequestRules  # that it is decided by, from its beginning to its end
    verified: VerifiedToken | None = None  # what the request was admitted by
    _upstream_seconds: float | None = None
    _response: StreamedResponse | None = None  # when it does not come in one piece
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

    def __repr__(self) -> str:
        state = self.status or "unanswered"
        return f"<{type(self).__name__} {self.message.method} {self.decision} {self.outcome.value if self.outcome else state}>"

    @property
    def ended(self) -> bool:
        """Whether the response is written, or never will be."""
        return self.outcome is not None

    @property
    def answer_begun(self) -> bool:
        """Whether a byte of the response was written."""
        return self._head_written

    def refuse(self, reason: Reason, detail: str | None = None, *headers: tuple[str, str]) -> None:
        """Answer with the refusal's JSON body; `reason.status` 4xx for a malformed request closes the connection."""
        if reason.status in _CLOSING:
            self.keep_alive = False
        self.respond(refusal(reason, detail, *headers))

    def respond(self, reply: Reply) -> None:
        """Answer with a reply of ours, unless a response has begun: then only aborting is left."""
        self._answer(reply, Outcome.ANSWERED)

    def _answer(self, reply: Reply, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        if self._head_written:
            self.reason = reply.reason
            self._abort()
            return
        self._response = None  # what was only collected of another is not sent
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
        """Announce `read_body`. Raises `Refused` when too many are waiting for theirs."""
        if not self.payload.is_eof():
            self.connection.manager.begin_waiting(self)

    async def read_body(self, limit: int) -> bytes:
        """The whole body of the request. Raises `BodyTooLarge` beyond `limit` bytes, as soon as that is known,
        `RequestBroken`, and `Refused` when it does not come in time, or there is no place for the request any more."""
        check_declared(self.message, limit)
        if self.expects_continue and not self.payload.is_eof():
            self.connection.write(_CONTINUE)
            self.expects_continue = False
        if not self.waiting:
            return read_at_hand(self.payload, limit)
        try:
            # A body of ours is small: it may take as long as a head.
            return await read_whole(self.payload, limit, self.connection.manager.timeouts.request_header)
        finally:
            if self.waiting:
                self.connection.manager.end_waiting(self)

    def _abort(self) -> None:
        """Cut the connection: what was written of the answer is seen to be no whole one."""
        self._let_go()
        self.keep_alive = False
        self.connection.abort(reset=self._response is not None and self._response.ends_by_close)
        if self.outcome is None:
            self._end(Outcome.ABORTED)

    def _let_go(self) -> None:
        """End what goes on besides, of which nobody wants the outcome."""
        self.wanted = False

    def _plan_rest_of_request(self) -> None:
        """The response comes before the end of the request: a small rest is read and dropped, a large one is not."""
        payload = self.payload
        if not payload.is_eof() and not rest_is_small(self.message, payload, expects_continue=self.expects_continue):
            self.keep_alive = False

    def _connection_line(self) -> bytes:
        if not self.keep_alive or self.connection.manager.draining:
            self.keep_alive = False
            return b"Connection: close\r\n"
        return b"" if self.message.version >= (1, 1) else b"Connection: keep-alive\r\n"

    def _end(self, outcome: Outcome, now: float | None = None) -> None:
        """The one end of this, at `now` (monotonic seconds): report it, and let the connection go on."""
        self.outcome = outcome
        self.wanted = False
        if self.upgrade:
            self._services.switching.discard(self)
        if now is None:
            now = self._services.monotonic()
        services = self._services
        if self.reason is None and services.tally is not None:
            services.tally(self.decision, self.status, now - self.started, self._upstream_seconds)
        else:
            services.report(self._done(now))
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
        )
