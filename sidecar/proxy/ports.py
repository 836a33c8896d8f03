"""What the parts of the data path know of each other: protocols, and the values that both sides share.

A request comes from a client connection and goes to an upstream connection, and each calls the other back. So neither
imports the other; both import this file, which imports none of them::

    client.acceptor ──► client.connections ──► client.connection ──► ports
                                gateway ──► exchange ──► answering ──► tunnel ──► ports
                             upstream.pool ──► upstream.connection ──► ports

The composition root brings them together: `connections` gets the gateway and a factory of exchanges.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.admission import VerifiedToken
from sidecar.core.causes import Fault
from sidecar.core.events import RequestDone
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from sidecar.proxy.limits import ClientLimits, ClientTimeouts, PoolLimits, UpstreamTimeouts
from sidecar.proxy.request import HeadMemo

WholeResponse = tuple[int, bytes, bytes]
"""A response: its status, its status line and fields as they go on, its body. A named tuple would cost more than reading it."""

# The client's side: what a connection is to an exchange, and an exchange to its connection.


class RequestPlaces(Protocol):
    """All client connections of a worker, as an exchange sees them. See `client.connections`."""

    @property
    def timeouts(self) -> ClientTimeouts:
        """The time limits of clients."""

    @property
    def draining(self) -> bool:
        """Whether the worker is going away."""

    def trusts(self, peer: str) -> bool:
        """Whether the peer's `X-Forwarded-*` may be believed."""

    def begin_waiting(self, exchange: "RequestToAnswer") -> None:
        """The exchange waits for its request's body. Raises `Refused` when there is no place for that."""

    def end_waiting(self, exchange: "RequestToAnswer") -> None:
        """The wait is over. Raises `Refused` when there is no place for the request."""


class ClientLink(Protocol):
    """The connection that a request came on, as its exchange and its tunnel see it. See `client.connection`."""

    memo: HeadMemo
    peer: str
    trusted: bool
    scheme: str
    certificate: bytes
    active_at: float  # monotonic seconds: when the client was last heard

    @property
    def manager(self) -> RequestPlaces:
        """Whose connection it is."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the connection lives on."""

    @property
    def spoke_early(self) -> bool:
        """Whether bytes came after a request to upgrade, before its answer."""

    @property
    def writing_paused(self) -> bool:
        """Whether the client takes no more for now."""

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""

    def end_of(self, body: StreamReader) -> bytes:
        """The last bytes of a request whose body is whole, as far as trailers may be among them. Once."""

    def start_tunnel(self, tunnel: "TunnelEnd") -> None:
        """From here on, what the client sends is the tunnel's."""

    def exchange_ended(self, exchange: "RequestToAnswer", now: float) -> None:
        """The response is written, or never will be."""

    def pause_reading(self) -> None:
        """Take no more from the client for now."""

    def resume_reading(self) -> None:
        """Take more again."""

    def end_writing(self) -> bool:
        """Say no more; whether the client's bytes can still come."""

    def close(self) -> None:
        """Close once what was written is delivered."""

    def close_lingering(self) -> None:
        """Close so that the client gets our last bytes though it may still be sending."""

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection. `reset`: with a TCP reset."""


class RequestToAnswer(Protocol):
    """A request, and the one answer that it gets. See `answering`."""

    message: RawRequestMessage
    payload: StreamReader
    path: str
    keep_alive: bool
    started: float  # monotonic seconds
    waiting: bool  # for its own body
    verified: VerifiedToken | None

    @property
    def ended(self) -> bool:
        """Whether the response is written, or never will be."""

    @property
    def answer_begun(self) -> bool:
        """Whether a byte of the response was written."""


class RequestInProgress(RequestToAnswer, Protocol):
    """An exchange, as the connection that its request came on sees it. See `exchange`."""

    @property
    def streaming(self) -> bool:
        """Whether bytes flow for as long as they like."""

    def client_paused(self) -> None:
        """The client takes no more of the response for now."""

    def client_resumed(self) -> None:
        """The client takes more again."""

    def client_left(self) -> None:
        """The connection is gone."""

    def cancel(self, reason: Reason) -> None:
        """End it without the upstream's answer, of which nothing was passed on yet."""

    def end_early(self, reason: Reason) -> None:
        """The token that admitted the request has ended."""


E = TypeVar("E", bound=RequestInProgress)
E_contra = TypeVar("E_contra", bound=RequestInProgress, contravariant=True)


class RequestHandler(Protocol[E_contra]):
    """The gateway, as the client connections see it."""

    def handle(self, exchange: E_contra) -> None:
        """Answer the request, or start to. Never raises."""

    def turn_away(self, exchange: E_contra) -> None:
        """Refuse a request because there are too many."""

    def recheck(self, exchange: RequestInProgress) -> Reason | None:
        """Why a request that was admitted would be refused now."""


class Reporting(Protocol):
    """Whom the client connections of a worker tell of what happens."""

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock, in seconds."""

    @property
    def report(self) -> Callable[[RequestDone], None]:
        """Told of each request that ended."""

    @property
    def log_failure(self) -> Callable[[str, Exception], None]:
        """Told of a defect of ours: the part, and the exception."""

    def apply_compat(self, reply: Reply) -> Reply:
        """A reply of ours as the callers of this API expect it."""


C_contra = TypeVar("C_contra", contravariant=True)


class ConnectionManager(RequestPlaces, Protocol[C_contra]):
    """All client connections of a worker, as one of them sees them. See `client.connections`."""

    loop: asyncio.AbstractEventLoop
    limits: ClientLimits
    monotonic: Callable[[], float]

    @property
    def log_failure(self) -> Callable[[str, Exception], None]:
        """Told of a defect of ours: the part, and the exception."""

    @property
    def crowded(self) -> bool:
        """Whether there are more connections than we take on."""

    def opened(self, connection: C_contra) -> None:
        """A connection can be spoken on."""

    def closed(self, connection: C_contra) -> None:
        """A connection is gone."""

    def start_exchange(
        self, connection: C_contra, message: RawRequestMessage, payload: StreamReader, now: float
    ) -> RequestInProgress | None:
        """Begin to handle a request; `None` when it is over already. `now` in monotonic seconds."""

    def exchange_ended(self, exchange: RequestToAnswer) -> None:
        """A request was answered."""

    def apply_compat(self, reply: Reply) -> Reply:
        """A reply of ours as the callers of this API expect it."""

    def report_unparsed(self, connection: C_contra, reason: Reason, fault: Fault | None = None) -> None:
        """A request was refused before it could be read; `fault` says why, as far as that is known."""


# The tunnel: what takes over both connections after 101.


class TunnelEnd(Protocol):
    """A tunnel, as the two connections see it that it took over. See `tunnel`."""

    def from_client(self, data: bytes) -> None:
        """Bytes that came from the client."""

    def from_upstream(self, data: bytes, now: float) -> None:
        """Bytes that came from the upstream."""

    def upstream_full(self, *, full: bool) -> None:
        """The upstream takes no more for now, or does again."""

    def client_ended(self) -> bool:
        """The client will send no more; whether its side stays open."""

    def upstream_ended(self) -> bool:
        """The upstream will send no more; whether its side stays open."""

    def finish(self) -> None:
        """A connection is gone."""

    def leave(self, now: float) -> None:
        """The worker is going away."""

    def check(self, now: float) -> None:
        """Called about once a second."""


# The upstream's side: what a connection is to an exchange, and what it calls.


class UpstreamLink(Protocol):
    """The connection that carries a request, as its exchange and its tunnel see it. See `upstream.connection`."""

    def write(self, data: bytes) -> None:
        """Send bytes of the request's body, already framed."""

    async def drain(self) -> None:
        """Wait until the upstream takes more."""

    def pause_reading(self) -> None:
        """The client takes no more of the response for now."""

    def resume_reading(self) -> None:
        """The client takes more again."""

    def end_writing(self) -> bool:
        """Say no more; whether the upstream's answer can still come."""

    def close(self) -> None:
        """Close once what was written is delivered."""

    def abort(self) -> None:
        """Close at once: the answer is not wanted any more."""


class ResponseSink(Protocol):
    """The exchange that an upstream connection works for. Calls come in the order of the response."""

    head_request: bool
    resendable: bool
    expects_continue: bool  # the client may hold its body back until it gets 100
    wanted: bool  # the answer is still waited for
    upgrade: bytes  # the protocol that the upstream was asked to switch to, or empty
    sent_at: float  # monotonic seconds

    @property
    def awaits_switch(self) -> bool:
        """Whether 101 would be an answer."""

    @property
    def sending(self) -> bool:
        """Whether there is more of the request to come."""

    def on_connected(self, connection: UpstreamLink) -> None:
        """The request's head was written to `connection`; the body may follow."""

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """A 1xx response (RFC 9110 section 15.2), never 101."""

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """The head of the final response."""

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> TunnelEnd:
        """101: the connection is a tunnel from here on."""

    def on_body(self, data: bytes) -> None:
        """Bytes of its body."""

    def on_trailers(self, pieces: list[bytes]) -> None:
        """Fields after the body, serialised."""

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        """All of the response at once, instead of `on_head`, `on_body` and `on_complete`."""

    def stop_sending(self) -> None:
        """The upstream wants no more of the request."""

    def on_complete(self, now: float) -> None:
        """The response is whole at `now` (monotonic seconds); nothing was handed on since the last `flush`."""

    def flush(self) -> None:
        """All that came with one read has been given: hand it on."""

    def on_failure(self, fault: Fault) -> None:
        """There will be no (more) response, and why."""

    def may_reuse(self) -> bool:
        """Whether the request was sent whole."""


class RequestSender(Protocol):
    """The pool, as an exchange sees it. See `upstream.pool`."""

    def dispatch(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request; the outcome comes to `receiver`."""


class KnownHeads(Protocol):
    """Heads of responses that were parsed before. See `upstream.shapes`."""

    idle_for: float  # seconds, as the response said that was read last

    def read(self, data: bytes) -> WholeResponse | None:
        """The response that `data` is, if its head is like a known one and nothing is before or behind it."""

    def learn(self, data: bytes) -> None:
        """Remember what the head of a response is like that the parser found to be whole."""

    def kept_for(self, keep_alive: bytes) -> float:
        """For how many seconds a connection may be kept whose response said this in `Keep-Alive`."""


class ConnectionPool(Protocol[C_contra]):
    """The pool, as one of its connections sees it. See `upstream.pool`."""

    loop: asyncio.AbstractEventLoop
    timeouts: UpstreamTimeouts
    monotonic: Callable[[], float]
    limits: PoolLimits
    hosts: Sequence[bytes]  # by address: what takes the place of `UPSTREAM_HOST` in a request, or empty

    @property
    def shapes(self) -> KnownHeads:
        """Heads of responses that were parsed before."""

    def resend(self, receiver: ResponseSink, request: bytes) -> None:
        """Send a request again, on a new connection."""

    def release(self, connection: C_contra, now: float) -> None:
        """An exchange is over, with a proper answer, and the connection can carry another."""

    def answered(self, connection: C_contra) -> None:
        """The upstream gave a proper answer, on a connection that cannot carry another exchange."""

    def failed(self, connection: C_contra) -> None:
        """The upstream gave no proper answer."""

    def unsolicited(self, connection: C_contra) -> None:
        """Bytes came that belong to no request; `connection_closing` follows."""

    def connection_closing(self, connection: C_contra) -> None:
        """The connection will carry nothing more; `connection_closed` follows."""

    def connection_closed(self, connection: C_contra) -> None:
        """The connection is gone."""
