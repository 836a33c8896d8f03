"""One side of a comparison: the real parts from a client's connection to the API, without a network. What a client sends is
read by the full parser alone, or by the shapes of what the parser had accepted."""

import asyncio
import dataclasses
import ipaddress
import math
import re
from functools import partial
from typing import Any, NamedTuple

from sidecar.core.events import RequestDone
from sidecar.core.http.fields import RawHeaders
from sidecar.core.http.plain_heads import HeaderSection, PlainHead, PlainHeads
from sidecar.core.revocations import RevocationView
from sidecar.proxy.answering import Services
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.forwarding import Upgrades
from sidecar.proxy.handler import AuthenticatingHandler
from sidecar.proxy.limits import ClientLimits, ClientRules, ClientTimeouts
from sidecar.proxy.rules import HostRules, RequestRules
from sidecar.proxy.token_cache import Lookups, TokenCache
from tests.support.decided import NOW
from tests.support.transport import Pipe

IDLE = 10.0
PROXY = "10.9.9.9"
_SETTLED = 7  # turns of the event loop in which tasks come to rest
_DATE = re.compile(rb"Date: [^\r]*\r\n")
_OK = (200, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"ok")


class Unlearnt(PlainHeads):
    """Knows no shape, and notes what the parser accepted."""

    def __init__(self, *args: Any, **limits: Any) -> None:
        super().__init__(*args, **limits)
        self.accepted: list[RawHeaders] = []

    def read(self, data: bytes, last: HeaderSection | None) -> None:
        return None

    def learn(self, fields: RawHeaders) -> None:
        self.accepted.append(fields)


class Learnt(PlainHeads):
    """Knows all that the parser `accepted`; `used` counts what it read."""

    def __init__(self, accepted: list[RawHeaders], *args: Any, **limits: Any) -> None:
        super().__init__(*args, **limits)
        self.used = 0
        for fields in {tuple(name for name, _ in fields): fields for fields in accepted}.values():
            for _ in range(16):
                self.learn(fields)

    def read(self, data: bytes, last: HeaderSection | None) -> PlainHead | None:
        head = super().read(data, last)
        self.used += head is not None
        return head


class Link:
    """A connection to the API, with what it was sent of one request."""

    def __init__(self, receiver: Exchange, request: bytes) -> None:
        self.receiver = receiver
        self.sent = request
        self.state = "open"

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.state = "aborted"


class Seen(NamedTuple):
    """All that can be seen from outside: the requests that reached the API whole, what the clients got, what was done to their
    connections, how these ended up, and what was reported."""

    sent: list[bytes]
    written: list[bytes]
    fates: list[list[str]]
    states: list[str]
    reports: list[tuple[Any, ...]]
    failures: list[str]


class Side:
    """A worker that decides by `rules` as they read with `heads`; it trusts the proxy at `PROXY`."""

    def __init__(self, rules: RequestRules, heads: PlainHeads, *, body_limit: int | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.now, self.moment = NOW, 1000.0
        self.links: list[Link] = []
        self.pipes: list[Pipe] = []
        self.clients: list[ClientConnection] = []
        self.reports: list[tuple[Any, ...]] = []
        self.failures: list[str] = []
        self.view = RevocationView(5)
        self.view.confirm(math.inf)
        switching: set[Any] = set()
        self.rules = dataclasses.replace(rules, heads=heads, cache=TokenCache(10, Lookups()))
        self.handler = AuthenticatingHandler(
            self.rules,
            view=self.view,
            upgrades=Upgrades(switching, 1),
            now=lambda: self.now,
            monotonic=lambda: self.moment,
            log_failure=self._failed,
        )
        services = Services(
            self,  # type: ignore[arg-type]  # as a pool, it has all that is asked of one
            self._report,
            None,
            lambda: self.moment,
            set(),
            switching,
            IDLE,
            body_limit,
            True,
            self._failed,
        )
        self.manager: ClientConnections[Exchange] = ClientConnections(
            self.handler,
            partial(Exchange, services),  # type: ignore[arg-type]
            services,
            loop=loop,
            rules=ClientRules(
                ClientTimeouts(IDLE, IDLE),
                ClientLimits(10, 10, 1024, 4096, 24, 1024**3, 6144),
                [ipaddress.ip_network(PROXY)],
            ),
        )

    def _failed(self, part: str, exc: Exception) -> None:
        self.failures.append(f"{part}: {exc!r}")

    def _report(self, done: RequestDone) -> None:
        self.reports.append(
            (done.decision, done.status, done.reason, done.method, done.path, done.client_id, done.peer, done.user)
        )

    def _check(self) -> None:
        """Check the connections in one order: the manager has a set of them."""
        for client in self.clients:
            if client.transport is not None:
                self.manager._check_one(client, now=self.moment)

    def dispatch(self, receiver: Any, request: bytes) -> None:
        """A request is on its way to the API."""
        link = Link(receiver, request)
        self.links.append(link)
        receiver.on_connected(link)

    def connect(self, peer: str = "10.0.0.1") -> None:
        """A client connects; `feed` and the like mean it from now on."""
        connection = self.manager.expect(secure=False)
        assert connection is not None
        pipe = Pipe(peername=(peer, 1))
        self.clients.append(connection)
        self.pipes.append(pipe)
        connection.connection_made(pipe)

    async def settle(self) -> None:
        """Let everything happen that can; the API answers what it has got whole."""
        again = True
        while again:
            for _ in range(_SETTLED):
                await asyncio.sleep(0)
            again = False
            for link in self.links:
                receiver = link.receiver
                if link.state == "open" and receiver.wanted and not receiver.sending:
                    link.state, again = "whole", True
                    receiver.on_whole(_OK, self.moment)

    async def feed(self, data: bytes) -> None:
        """The client sends this in one write."""
        if self.clients[-1].transport is not None and not self.pipes[-1].is_closing():
            self.clients[-1].data_received(data)
        await self.settle()

    async def act(self, what: str) -> None:
        """Something else happens."""
        client, pipe = self.clients[-1], self.pipes[-1]
        if what == "end" and not pipe.is_closing() and not client.eof_received():
            pipe.close()
        elif what == "leave" and client.transport is not None:
            client.connection_lost(None)
        elif what == "late":
            self.moment += IDLE + 1
            self._check()
        elif what in ("revoke", "revoke and check"):
            self.view.add([("j", int(NOW) + 1000)])
            if what != "revoke":
                self._check()
        elif what == "check":
            self._check()
        elif what == "pause" and client.transport is not None and not client.writing_paused:
            client.pause_writing()
        elif what == "resume" and client.transport is not None and client.writing_paused:
            client.resume_writing()
        elif what == "drain":
            self.manager.draining = True
        elif what == "swap":
            host = HostRules(b"api", b"swapped")
            new = Learnt([], self.rules.kinds, host=host.instead, line=1024, size=4096, count=24)
            self.handler.use(dataclasses.replace(self.rules, heads=new, host=host, cache=TokenCache(10, Lookups())))
        await self.settle()

    async def leave(self) -> None:
        """All clients are gone."""
        for client in self.clients:
            if client.transport is not None:
                client.connection_lost(None)
        await self.settle()

    def seen(self) -> Seen:
        """All that can be seen of it by now."""
        return Seen(
            [link.sent for link in self.links if link.state == "whole"],
            [_DATE.sub(b"", pipe.written) for pipe in self.pipes],
            [list(pipe.fate) for pipe in self.pipes],
            [client.state.value for client in self.clients],
            list(self.reports),
            list(self.failures),
        )
