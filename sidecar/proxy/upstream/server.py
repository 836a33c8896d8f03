"""One API server of the pool: how it is reached, its idle connections and its recent history."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Reason
from sidecar.proxy.upstream.connection import UpstreamConnection

PASSED_OVER: Final = (1.0, 30.0)  # seconds for which a server that failed is skipped: initially, at most
_CONNECTING: Final = frozenset(
    [Cause.CONNECT_TIMEOUT, *(cause for cause in Cause if cause.reason is Reason.UPSTREAM_UNREACHABLE)]
)

Opener = Callable[[Callable[[], UpstreamConnection]], Awaitable[UpstreamConnection]]


class UpstreamTls(NamedTuple):
    """How to speak TLS to an upstream: with the system's defaults unless there is a `context`; `server_name` replaces the
    URL's name."""

    context: ssl.SSLContext | None = None
    server_name: str | None = None


class UpstreamHealth(NamedTuple):
    """How one address fares: its exchanges and idle connections, improper responses in a row, for how many seconds it is still
    skipped, and why it failed last; `None` once that is over."""

    url: str
    exchanges: int
    idle: int
    failures: int
    skipped: float
    fault: Fault | None


class UpstreamServer:
    """One server: its idle connections and its recent history."""

    __slots__ = (
        "connect",
        "exchanges",
        "failing",
        "failures",
        "fault",
        "idle",
        "passed_over_until",
        "pause",
        "used_once_for",
        "used_once_until",
    )

    def __init__(self, connect: Opener) -> None:
        self.connect = connect
        self.idle: list[tuple[UpstreamConnection, float]] = []  # each with the time until which it may be used
        self.exchanges = 0
        self.failing = False  # since its last proper response
        self.failures = 0
        self.fault: Fault | None = None  # why it failed last; `None` once that is over
        self.passed_over_until = 0.0
        self.pause = PASSED_OVER[0]
        self.used_once_until = 0.0
        self.used_once_for = 0.0

    def __repr__(self) -> str:
        return f"<UpstreamServer {self.fault.cause.word if self.fault else 'up'}, {self.exchanges} exchanges>"

    def health(self, url: str, now: float) -> UpstreamHealth:
        """How it fares at `now`, in monotonic seconds."""
        skipped = max(0.0, self.passed_over_until - now)
        return UpstreamHealth(url, self.exchanges, len(self.idle), self.failures, skipped, self.fault)

    def failed(self, fault: Fault) -> None:
        """It could not be reached, or gave no proper response."""
        self.failing = True
        self.fault = fault

    def reached(self) -> None:
        """It accepted a connection. If that was what failed, it is over."""
        if self.fault is not None and self.fault.cause in _CONNECTING:
            self.fault = None

    def recovered(self) -> None:
        """It gave a proper response."""
        self.failing = False
        self.failures = 0
        self.fault = None
        self.passed_over_until = 0.0
        self.pause = PASSED_OVER[0]


def authority_of(url: str) -> bytes:
    """The `Host` to send when the client sent none."""
    parts = urlsplit(url)
    return b"localhost" if parts.scheme == "unix" else parts.netloc.encode()


def opener(url: str, loop: asyncio.AbstractEventLoop, tls: UpstreamTls) -> Opener:
    """What opens a connection to the server at `url`."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = (tls.context or ssl.create_default_context()) if secure else None
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)

    async def connect(factory: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        if parts.scheme == "unix":
            _, protocol = await loop.create_unix_connection(factory, unquote(parts.path))
        else:
            name = tls.server_name if secure else None
            _, protocol = await loop.create_connection(factory, host, port, ssl=context, server_hostname=name)
        return protocol

    return connect
