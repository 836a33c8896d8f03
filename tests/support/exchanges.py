"""Exchanges without a network: a client connection and a pool that note what is done, and a request between them."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.core.http.response_headers import ResponseHeaders, read_response_headers
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.answering import Services
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.limits import ClientTimeouts
from sidecar.proxy.request import Body, Message
from sidecar.proxy.small_body import SmallBody


class Places:
    """All client connections, with room or without."""

    def __init__(self) -> None:
        self.timeouts = ClientTimeouts(10, 10)
        self.draining = False
        self.crowded = False

    def begin_waiting(self, exchange: Any) -> None:
        if self.crowded:
            raise Refused(Reason.OVERLOADED)
        exchange.waiting = True

    def end_waiting(self, exchange: Any) -> None:
        exchange.waiting = False


class Client:
    """A client connection: what was `written` to it, and which exchanges `ended`; `fate` is what was done to it."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.manager = Places()
        self.peer = "10.0.0.1"
        self.active_at = 0.0
        self.spoke_early = self.writing_paused = False
        self.written = b""
        self.trailing = b""  # what comes behind the last chunk of a request
        self.ended: list[Any] = []
        self.fate: list[str] = []
        self.tunnel: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def end_of(self, body: object) -> bytes:
        return self.trailing

    def start_tunnel(self, tunnel: object) -> None:
        self.tunnel = tunnel

    def exchange_ended(self, exchange: Any, now: float) -> None:
        self.ended.append(exchange)

    def abort(self, *, reset: bool = False) -> None:
        self.fate.append("reset" if reset else "abort")

    def close(self) -> None:
        self.fate.append("close")


class Upstream:
    """An upstream connection: what was `written` to it of a body, and what was done to it. `takes` is cleared to make it full."""

    def __init__(self) -> None:
        self.written = b""
        self.fate: list[str] = []
        self.takes = asyncio.Event()
        self.takes.set()

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        await self.takes.wait()

    def pause_reading(self) -> None:
        self.fate.append("pause")

    def resume_reading(self) -> None:
        self.fate.append("resume")

    def abort(self) -> None:
        self.fate.append("abort")

    def close(self) -> None:
        self.fate.append("close")


class Road:
    """One request from a client on its way to an upstream. `sent` is what was given to the pool with the head `HEAD `. `plain`:
    the request is read by its shape, and the test feeds the rest of its `body`."""

    def __init__(
        self, request: bytes, *, body_limit: int | None = None, tally: Any = None, plain: bool = False
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.client: Any = Client(self.loop)
        self.upstream = Upstream()
        self.now = 100.0
        self.sent: list[bytes] = []
        self.reports: list[Any] = []
        self.tunnels: set[Any] = set()
        self.switching: set[Any] = set()
        protocol = BaseProtocol(self.loop)
        protocol.connection_made(asyncio.Transport())  # a body is waited for only where there is a connection
        self._parser = HttpRequestParser(protocol, self.loop, 65536, max_line_size=8190, max_field_size=8190)
        message: Message
        payload: Body
        ((message, payload),) = self._parser.feed_data(request)[0]
        if plain:
            known = PlainHeads(request_kinds(), host=None, line=8190, size=8190, count=10)
            for _ in range(16):
                known.learn(message.raw_headers)
            head = known.read(request, None)
            assert head is not None
            message = head
            payload = SmallBody(head.section.length, request[head.start :]) if head.section.length else payload
        self.body = payload
        services = Services(
            pool=SimpleNamespace(dispatch=lambda receiver, request: self.sent.append(request)),  # type: ignore[arg-type]
            report=self.reports.append,
            tally=tally,
            monotonic=lambda: self.now,
            tunnels=self.tunnels,
            switching=self.switching,
            tunnel_idle=10.0,
            body_limit=body_limit,
            tapdata=True,
            log_failure=lambda part, exc: None,
        )
        self.exchange = Exchange(services, self.client, message, payload, self.now)

    def come(self, data: bytes) -> None:
        """More of the request comes."""
        self._parser.feed_data(data)

    def forward(self, body: bytes | None = None) -> None:
        """Send the request on, and let the upstream have its head."""
        self.exchange.forward(b"HEAD ", body)
        if self.sent:
            self.exchange.on_connected(self.upstream)

    def answer(self, status: int, fields: dict[bytes, bytes], *body: bytes) -> None:
        """The head of an answer comes, and parts of its body, each in a read of its own."""
        self.exchange.on_head(status, b"Said", head(fields))
        self.exchange.flush()
        for data in body:
            self.exchange.on_body(data)
            self.exchange.flush()


def head(fields: dict[bytes, bytes]) -> ResponseHeaders:
    """The head of a response."""
    return read_response_headers(list(fields.items()))
