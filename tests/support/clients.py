"""The client connections of a worker without what is behind them: requests are noted, and end when a test says so."""

import asyncio
from types import SimpleNamespace
from typing import Any

from sidecar.core.events import RequestDone
from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply, refusal
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.limits import ClientLimits, ClientRules, ClientTimeouts
from sidecar.proxy.wire import encode_reply
from tests.support.transport import Pipe


class Request:
    """A request that came on a connection; `answer` ends it. `fate` is what was done to it."""

    keep_alive = True
    waiting = False
    ended = False
    answer_begun = False
    streaming = False
    verified: Any = None

    def __init__(self, connection: Any, message: Any, payload: Any, now: float) -> None:
        self.connection = connection
        self.message = message
        self.payload = payload
        self.started = now
        self.path = message.path
        self.fate: list[Any] = []

    def answer(self, reply: Reply, now: float) -> None:
        self.connection.write(encode_reply(reply, head_only=False, connection=b""))
        self.ended = True
        self.connection.exchange_ended(self, now)

    def end_early(self, reason: Reason) -> None:
        self.fate.append(reason)

    def client_left(self) -> None:
        self.fate.append("left")
        self.ended = True
        self.connection.exchange_ended(self, 0.0)

    def client_paused(self) -> None: ...

    def client_resumed(self) -> None: ...


class Noting:
    """Keeps each request that it is given, and refuses those that are turned away. `objection` is what it says when it is asked
    about a request again."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.turned_away: list[Request] = []
        self.objection: Reason | None = None
        self.heads = PlainHeads(request_kinds(), host=None, line=1024, size=4096, count=32)

    def handle(self, exchange: Request) -> None:
        self.requests.append(exchange)

    def turn_away(self, exchange: Request) -> None:
        self.turned_away.append(exchange)
        exchange.answer(refusal(Reason.OVERLOADED), 0.0)

    def recheck(self, exchange: Any) -> Reason | None:
        return self.objection


class Clients:
    """`connections` over a clock that shows `now`; what was reported, and which defects there were."""

    def __init__(self, *, connections: int = 10, in_flight: int = 10, memory: int = 1024**3, **options: Any) -> None:
        self.now = 100.0
        self.reports: list[RequestDone] = []
        self.defects: list[str] = []
        self.handler = Noting()
        services: Any = SimpleNamespace(
            monotonic=lambda: self.now,
            report=self.reports.append,
            log_failure=lambda part, exc: self.defects.append(f"{part} {exc!r}"),
            apply_compat=lambda reply: reply,
        )
        self.connections: ClientConnections[Any] = ClientConnections(
            self.handler,  # type: ignore[arg-type]  # it has all that is asked of a handler
            Request,
            services,
            loop=asyncio.get_running_loop(),
            rules=ClientRules(
                ClientTimeouts(10, 10), ClientLimits(connections, in_flight, 1024, 4096, 32, memory, 1024), **options
            ),
        )


class Tls:
    """The TLS side of a transport."""

    def getpeercert(self, *, binary_form: bool) -> None:
        assert binary_form


def connect(clients: Clients, *reads: bytes, secure: bool = False) -> tuple[ClientConnection, Pipe]:
    """A connection that has read these bytes, and its transport."""
    connection = clients.connections.expect(secure=secure)
    assert connection is not None
    pipe = Pipe(peername=("10.0.0.1", 5), ssl_object=Tls() if secure else None)
    connection.connection_made(pipe)
    for read in reads:
        connection.data_received(read)
    return connection, pipe


def know(clients: Clients, *names: bytes) -> None:
    """Requests with these fields need no parser."""
    for _ in range(16):
        clients.handler.heads.learn([(name, b"") for name in names])
