"""Requests that are decided about without a network: a gateway over rules of a test, and exchanges that note what is done."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader

from sidecar.core.admission import AdmissionRules, VerifiedToken
from sidecar.core.events import Decision
from sidecar.core.http.cross_origin import Sharing
from sidecar.core.http.fields import request_kinds
from sidecar.core.http.forwarded import ForwardedFields
from sidecar.core.http.plain_heads import HeaderSection, PlainHead, PlainHeads
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.policy import Access, Route, RoutePolicy
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply, refusal
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import TokenRules
from sidecar.proxy.forwarding import Upgrades
from sidecar.proxy.handler import AuthenticatingHandler
from sidecar.proxy.rules import CredentialRules, HostRules, RequestRules
from sidecar.proxy.token_cache import Lookups, TokenCache

NOW = 1_800_000_000.0
RING = KeyRing([SigningKey.hmac("k", "HS256", "k" * 32)])
TOKENS = TokenRules(issuer="https://issuer", audience="api", access_token_ttl=600, leeway=0, ring=RING)
EVERYWHERE = CredentialRules(frozenset(["bearer", "header", "query", "body"]), 65536, any_header=True)


def token(**claims: Any) -> str:
    """A good token of client `app`."""
    said = {"client_id": "app", "subject": "anna", "roles": (), "scope": ("a",), "now": NOW, "jti": "j", **claims}
    return TOKENS.issue(**said)[0]


async def echo(request: EndpointRequest) -> Reply:
    """An endpoint that says what it got."""
    return Reply(200, (), f"{request.method} {request.query} {request.peer} {request.body!r}".encode())


def rules(*routes: Route, **changes: Any) -> RequestRules:
    """Rules with an endpoint at `/oauth/token`, which pages may use."""
    said: dict[str, Any] = {
        "generation": 1,
        "policy": RoutePolicy([Route("/oauth/token", access=Access.LOCAL), *routes]),
        "endpoints": {"/oauth/token": echo},
        "sharing": {"/oauth/token": Sharing(frozenset(["https://page.example"]), "POST")},
        "tokens": TOKENS,
        "admission": AdmissionRules(0.0, {"k"}, frozenset()),
        "credentials": EVERYWHERE,
        "kinds": request_kinds(),
        "host": HostRules(b"api", None),
        "cache": TokenCache(10, Lookups()),
        **changes,
    }
    said.setdefault("heads", PlainHeads(said["kinds"], host=said["host"].instead, line=8190, size=32768, count=100))
    return RequestRules(**said)


class Connection:
    """A client connection at `peer` on which one request after the other comes."""

    def __init__(self, peer: str = "10.0.0.1") -> None:
        self.forwarded = ForwardedFields(peer)
        self.section: HeaderSection | None = None
        self.peer = peer
        self.spoke_early = False
        self.manager = SimpleNamespace(trusts=lambda peer: False)
        self.loop = asyncio.get_running_loop()


class Noted:
    """An exchange that notes what became of it: `sent` is the head that went to the API, `reply` what we answered. A head that
    `heads` knows is read by its shape."""

    def __init__(self, data: bytes, connection: Connection | None = None, heads: PlainHeads | None = None) -> None:
        self.connection: Any = connection or Connection()
        loop = asyncio.get_running_loop()
        parser = HttpRequestParser(BaseProtocol(loop), loop, 65536, max_line_size=8190, max_field_size=8190)
        ((self.message, self.payload),) = parser.feed_data(data)[0]
        plain = heads.read(data, self.connection.section) if heads is not None else None
        if plain is not None:
            self.message = plain
            self.connection.section = plain.section
        self.payload: StreamReader
        self.rules: Any = None
        self.decision = Decision.REFUSED
        self.path = ""
        self.client_id: str | None = None
        self.user: str | None = None
        self.verified: VerifiedToken | None = None
        self.shared: Any = ()
        self.trailer_names: Any = frozenset()
        self.expects_continue = False
        self.started = 0.0
        self.upgrade = b""
        self.task: Any = None
        self.waiting = False
        self.sent: bytes | None = None
        self.body: bytes | None = None
        self.reply: Reply | None = None

    def forward(self, head: bytes, body: bytes | None = None) -> None:
        self.sent, self.body = head, body

    def respond(self, reply: Reply) -> None:
        self.reply = reply
        self.client_id = reply.client_id or self.client_id

    def refuse(self, reason: Reason, detail: str | None = None, *headers: tuple[str, str]) -> None:
        self.respond(refusal(reason, detail, *headers))

    def await_body(self) -> None: ...

    async def read_body(self, limit: int) -> bytes:
        return await self.payload.read()

    @property
    def reason(self) -> Reason | None:
        return self.reply.reason if self.reply else None


class World:
    """A gateway, and its clock, view and defects."""

    def __init__(self, made: RequestRules) -> None:
        self.now = NOW
        self.view = RevocationView(5)
        self.view.confirm(math.inf)
        self.switching: set[Any] = set()
        self.failures: list[str] = []
        self.handler = AuthenticatingHandler(
            made,
            view=self.view,
            upgrades=Upgrades(self.switching, 1),
            now=lambda: self.now,
            monotonic=lambda: 0.0,
            log_failure=lambda where, exc: self.failures.append(f"{where} {exc!r}"),
        )

    def handle(self, data: bytes, connection: Connection | None = None, *, plain: bool = False) -> Noted:
        """What becomes of a request; `plain`: it is read by its shape, which must be known."""
        noted = Noted(data, connection, self.handler.heads if plain else None)
        assert not plain or isinstance(noted.message, PlainHead)
        self.handler.handle(noted)  # type: ignore[arg-type]  # it has all that is asked of an exchange
        return noted

    async def finish(self, data: bytes, connection: Connection | None = None) -> Noted:
        """The same, when a body has to be waited for."""
        noted = self.handle(data, connection)
        if noted.task is not None:
            await noted.task
        return noted
