"""What the parts of the data path know of each other: protocols, and the values that both sides share.

A client connection and an upstream connection call each other back. So neither imports the other, and both import this module::

    client.acceptor ──► client.connections ──► client.connection ──► ports
                                handler ──► exchange ──► answering ──► tunnel ──► ports
                             upstream.pool ──► upstream.connection ──► ports

The composition root connects them: `connections` gets the handler and a factory of exchanges.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sidecar.core.admission import VerifiedToken
from sidecar.core.causes import Fault
from sidecar.core.events import RequestDone
from sidecar.core.http.forwarded import ForwardedFields
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from sidecar.proxy.limits import ClientLimits, ClientTimeouts, PoolLimits, UpstreamTimeouts
from sidecar.proxy.memory import MemoryBudget
from sidecar.proxy.request import Body, Message

WholeResponse = tuple[int, bytes, bytes]
"""A response: status, status line and fields as forwarded, body. A named tuple would cost more than the parsing."""

# The client's side.


class RequestPlaces(Protocol):
    """All client connections of a worker, as an exchange sees them. See `client.connections`."""

    timeouts: ClientTimeouts

    @property
    def draining(self) -> bool:
        """Whether the worker is shutting down."""

    def trusts(self, peer: str) -> bool:
        """Whether the peer's `X-Forwarded-*` fields are trusted."""

    def begin_waiting(self, exchange: "RequestToAnswer") -> None:
        """The exchange waits for the body of its request. Raises `Refused` when too many exchanges are waiting."""

    def end_waiting(self, exchange: "RequestToAnswer") -> None:
        """The wait is over. Raises `Refused` when there is no room for the request."""


class ClientLink(Protocol):
    """The connection that a request arrived on, as its exchange and its tunnel see it. See `client.connection`."""

    forwarded: ForwardedFields
    peer: str
    active_at: float  # monotonic seconds: when the client last sent something

    @property
    def manager(self) -> RequestPlaces:
        """The manager of the connection."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""

    @property
    def spoke_early(self) -> bool:
        """Whether bytes arrived after an upgrade request, before its response."""

    @property
    def writing_paused(self) -> bool:
        """Whether the client accepts no more for now."""

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""

    def end_of(self, body: Body) -> bytes:
        """The last bytes of a complete request body, which may include trailers. Can be read once."""

    def start_tunnel(self, tunnel: "TunnelEnd") -> None:
        """From now on, the client's bytes belong to the tunnel."""

    def exchange_ended(self, exchange: "RequestToAnswer", now: float) -> None:
        """The response is complete, or never will be."""

    def pause_reading(self) -> None:
        """Read no more from the client for now."""

    def resume_reading(self) -> None:
        """Read from the client again."""

    def end_writing(self) -> bool:
        """Close the sending side. Returns whether the client can still send."""

    def close(self) -> None:
        """Close after everything written has been delivered."""

    def close_lingering(self) -> None:
        """Close in a way that delivers the last response even if the client is still sending."""

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection. `reset`: with a TCP reset."""


class RequestToAnswer(Protocol):
    """A request, and its one response. See `answering`."""

    message: Message
    payload: Body
    path: str
    keep_alive: bool
    started: float  # monotonic seconds
    waiting: bool  # for its own body
    verified: VerifiedToken | None

    @property
    def ended(self) -> bool:
        """Whether the response is complete, or never will be."""

    @property
    def answer_begun(self) -> bool:
        """Whether a byte of the response was written."""


class RequestInProgress(RequestToAnswer, Protocol):
    """An exchange, as the connection of its request sees it. See `exchange`."""

    @property
    def streaming(self) -> bool:
        """Whether bytes flow for an unlimited time."""

    def flows_long(self, now: float) -> bool:
        """Whether it is a stream for the metrics: see `exchange`."""

    def client_paused(self) -> None:
        """The client accepts no more of the response for now."""

    def client_resumed(self) -> None:
        """The client accepts more again."""

    def client_left(self) -> None:
        """The client connection is gone."""

    def cancel(self, reason: Reason) -> None:
        """End the exchange without the upstream's response, none of which was forwarded yet."""

    def end_early(self, reason: Reason) -> None:
        """The token that admitted the request has ended."""


E = TypeVar("E", bound=RequestInProgress)
E_contra = TypeVar("E_contra", bound=RequestInProgress, contravariant=True)


class RequestHandler(Protocol[E_contra]):
    """The request handler, as the client connections see it."""

    heads: PlainHeads  # the shapes that are known under the current rules

    def handle(self, exchange: E_contra) -> None:
        """Answer the request, or start answering it. Never raises."""

    def turn_away(self, exchange: E_contra) -> None:
        """Refuse a request because there are too many."""

    def recheck(self, exchange: RequestInProgress) -> Reason | None:
        """The reason for which an admitted request would be refused now."""


class Common(Protocol):
    """What all client connections of a worker share with their manager."""

    @property
    def log_failure(self) -> Callable[[str, Exception], None]:
        """Reports a defect of the sidecar: the component, and the exception."""

    def apply_compat(self, reply: Reply) -> Reply:
        """Adapt a reply of the sidecar to what the callers of this API expect."""


class Reporting(Common, Protocol):
    """The observers that the client connections of a worker report to."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock, in monotonic seconds."""

    @property
    def report(self) -> Callable[[RequestDone], None]:
        """Reports each request that ended."""


C_contra = TypeVar("C_contra", contravariant=True)


class ConnectionManager(RequestPlaces, Common, Protocol[C_contra]):
    """All client connections of a worker, as one of them sees them. See `client.connections`."""

    loop: asyncio.AbstractEventLoop
    limits: ClientLimits
    monotonic: Callable[[], float]
    handler: RequestHandler[Any]
    memory: MemoryBudget[Any]

    @property
    def crowded(self) -> bool:
        """Whether there are too many connections."""

    def opened(self, connection: C_contra) -> None:
        """A connection is established and can carry requests."""

    def closed(self, connection: C_contra) -> None:
        """A connection is closed."""

    def describe(self, peer: str, certificate: bytes | None) -> ForwardedFields:
        """The fields that describe a client to the API."""

    def start_exchange(
        self, connection: C_contra, message: Message, payload: Body, now: float
    ) -> RequestInProgress | None:
        """Start handling a request; `None` when it has already ended. `now` is in monotonic seconds."""

    def exchange_ended(self, exchange: RequestToAnswer) -> None:
        """A request has ended."""

    def report_unparsed(self, connection: C_contra, reason: Reason, fault: Fault | None = None) -> None:
        """Report a request that was refused before it could be parsed; `fault` is the cause, if known."""


# The tunnel, which takes over both connections after 101.


class TunnelEnd(Protocol):
    """A tunnel, as its two connections see it. See `tunnel`."""

    def from_client(self, data: bytes) -> None:
        """The client sent bytes."""

    def from_upstream(self, data: bytes, now: float) -> None:
        """The upstream sent bytes."""

    def upstream_full(self, *, full: bool) -> None:
        """The upstream accepts no more for now, or accepts more again."""

    def client_ended(self) -> bool:
        """The client sends no more. Returns whether its connection stays open."""

    def upstream_ended(self) -> bool:
        """The upstream sends no more. Returns whether its connection stays open."""

    def finish(self) -> None:
        """A connection is gone."""

    def leave(self, now: float) -> None:
        """The worker is shutting down."""

    def check(self, now: float) -> None:
        """Called about once a second."""


# The upstream's side: how an exchange sees its connection, and what that connection calls.


class UpstreamLink(Protocol):
    """The connection that carries a request, as its exchange and its tunnel see it. See `upstream.connection`."""

    def write(self, data: bytes) -> None:
        """Send bytes of the request's body, already framed."""

    async def drain(self) -> None:
        """Wait until the upstream accepts more."""

    def pause_reading(self) -> None:
        """The client accepts no more of the response for now."""

    def resume_reading(self) -> None:
        """The client accepts more again."""

    def end_writing(self) -> bool:
        """Close the sending side. Returns whether the upstream's response can still arrive."""

    def close(self) -> None:
        """Close after everything written has been delivered."""

    def abort(self) -> None:
        """Close at once: the response is no longer wanted."""


class ResponseSink(Protocol):
    """The exchange that an upstream connection serves. Calls come in the order of the response."""

    head_request: bool
    resendable: bool
    expects_continue: bool  # the client may withhold its body until it gets 100
    wanted: bool  # the response is still awaited
    upgrade: bytes  # the protocol that the upstream was asked to switch to, or empty
    sent_at: float  # monotonic seconds

    @property
    def awaits_switch(self) -> bool:
        """Whether 101 is an acceptable response."""

    @property
    def sending(self) -> bool:
        """Whether more of the request has to be sent."""

    def on_connected(self, connection: UpstreamLink) -> None:
        """The request's head was written to `connection`; the body may follow."""

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """A 1xx response (RFC 9110 section 15.2), never 101."""

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """The head of the final response."""

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> TunnelEnd:
        """A 101 response: from now on the connection belongs to a tunnel."""

    def on_body(self, data: bytes) -> None:
        """Bytes of the response body."""

    def on_trailers(self, pieces: list[bytes]) -> None:
        """Fields after the body, serialised."""

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        """A complete response at once, instead of `on_head`, `on_body` and `on_complete`."""

    def stop_sending(self) -> None:
        """The upstream accepts no more of the request."""

    def on_complete(self, now: float) -> None:
        """The response is complete at `now` (monotonic seconds); nothing was forwarded since the last `flush`."""

    def flush(self) -> None:
        """Everything that arrived in one read has been passed to the other methods: forward it."""

    def on_failure(self, fault: Fault) -> None:
        """There will be no response, or no more of it; `fault` says why."""

    def may_reuse(self) -> bool:
        """Whether the request was sent completely, so that its connection may be reused."""


class RequestSender(Protocol):
    """The pool, as an exchange sees it. See `upstream.pool`."""

    def dispatch(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request; `receiver` gets the outcome."""


class KnownHeads(Protocol):
    """Response heads that were parsed before. See `upstream.shapes`."""

    idle_for: float  # seconds, as stated by the last response

    def read(self, data: bytes) -> WholeResponse | None:
        """Parse `data` as a whole response with a known head; `None` if it is none, or bytes precede or follow it."""

    def learn(self, data: bytes) -> None:
        """Remember the form of the head of a response that the parser found to be complete."""

    def kept_for(self, keep_alive: bytes) -> float:
        """For how many seconds a connection may be kept after a response with this `Keep-Alive` field."""


class ConnectionPool(Protocol[C_contra]):
    """The pool, as one of its connections sees it. See `upstream.pool`."""

    loop: asyncio.AbstractEventLoop
    timeouts: UpstreamTimeouts
    monotonic: Callable[[], float]
    limits: PoolLimits
    hosts: Sequence[tuple[bytes, str]]  # by address: what replaces `UPSTREAM_HOST` in a request, or empty; the URL

    @property
    def shapes(self) -> KnownHeads:
        """Response heads that were parsed before."""

    def resend(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request again, on a new connection."""

    def release(self, connection: C_contra, now: float) -> None:
        """An exchange ended with a proper response, and the connection can carry another exchange."""

    def answered(self, connection: C_contra) -> None:
        """The upstream gave a proper response, on a connection that cannot carry another exchange."""

    def failed(self, connection: C_contra, fault: Fault) -> None:
        """The upstream gave no proper response."""

    def unsolicited(self, connection: C_contra) -> None:
        """Bytes arrived that belong to no request; `connection_closing` follows."""

    def connection_closing(self, connection: C_contra) -> None:
        """The connection will carry no further exchange; `connection_closed` follows."""

    def connection_closed(self, connection: C_contra) -> None:
        """The connection is gone."""
