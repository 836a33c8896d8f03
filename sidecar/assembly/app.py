"""The composition root: settings in, the connected parts of one worker out. The only module that knows all of them."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from sidecar.assembly.living import living
from sidecar.assembly.snapshot import request_rules
from sidecar.config import settings as config
from sidecar.config.load import current_store_url
from sidecar.core.events import Event, StoreChanged
from sidecar.core.ports import Store
from sidecar.core.revocations import RevocationView
from sidecar.ops.admin import WRITES
from sidecar.ops.key_watch import KeyWatch
from sidecar.ops.logs import AccessLog, RequestLines, json_stream, lines_dropped
from sidecar.ops.metrics import Gauges, Metrics
from sidecar.proxy.answering import Answering, Services
from sidecar.proxy.client.acceptor import Acceptor
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.forwarding import Upgrades
from sidecar.proxy.handler import AuthenticatingHandler
from sidecar.proxy.limits import ClientLimits, ClientTimeouts, PoolLimits, UpstreamTimeouts
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.upstream.pool import UpstreamPool, UpstreamTls
from sidecar.stores import open_store
from sidecar.tls import upstream_context

log: Final = logging.getLogger("sidecar")

_PAUSES_LOGGED_EVERY: Final = 60.0  # seconds


class App:
    """The parts of one worker. `runtime.worker` and tests use `store`, `connections`, `pool` and `metrics`. `now` gives epoch
    seconds, `monotonic` monotonic seconds."""

    def __init__(
        self,
        settings: config.Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.now = now
        self.monotonic = monotonic
        self.store_up = False
        self._quiet_until = 0.0  # monotonic
        self._handlers: list[Callable[[Event], None]] = []
        self.view = RevocationView(settings.store.max_staleness)
        self.store: Store = open_store(
            settings.store.url.get_secret_value(),
            prefix=settings.store.prefix,
            timeout=settings.store.timeout,
            max_staleness=settings.store.max_staleness,
            clock=now,
            monotonic=monotonic,
            emit=self.emit,
            renewed=partial(current_store_url, settings),
        )
        times = settings.timeouts
        upstream = settings.upstream
        self.pool = UpstreamPool(
            upstream.url,
            loop=loop,
            timeouts=UpstreamTimeouts(times.connect, times.response, times.stream),
            limits=PoolLimits(upstream.max_connections, upstream.idle, upstream.max_age),
            monotonic=monotonic,
            on_unasked=log_unasked,
            tls=UpstreamTls(
                upstream_context(upstream.tls.ca, upstream.tls.certificate, upstream.tls.key), upstream.tls.server_name
            ),
            each_its_host=upstream.host == "upstream",
        )
        self.tunnels: set[Tunnel] = set()
        switching: set[Answering] = set()
        self.living = living(self.store, self.view, emit=self.emit, clock=now, monotonic=monotonic)
        self.metrics = Metrics(self.gauges)
        stream = json_stream()
        lines = RequestLines(stream, call_later=loop.call_later, clock=now) if stream is not None else None
        self.access_log = AccessLog(logging.getLogger("sidecar.access"), settings.logging.admitted, lines)
        self._handlers += [self._note_store, self.metrics.on_event, self.access_log.on_event]
        self.rules = request_rules(settings, self.living, 0)
        self.key_watch = KeyWatch(log, lambda: self.rules.tokens.ring, now)
        self.handler = AuthenticatingHandler(
            self.rules,
            view=self.view,
            upgrades=Upgrades(switching, settings.limits.tunnels),
            now=now,
            monotonic=monotonic,
            log_failure=log_failure,
        )
        limits = settings.limits
        count = None if self.access_log.admitted_shown else self.metrics.count
        services = Services(
            self.pool,
            self.emit,
            count,
            monotonic,
            self.tunnels,
            switching,
            times.stream,
            limits.body,
            settings.compat == "tapdata",
            log_failure,
        )
        self.connections = ClientConnections(
            self.handler,
            partial(Exchange, services),
            services,
            loop=loop,
            timeouts=ClientTimeouts(times.request_header, times.idle),
            limits=ClientLimits(
                limits.connections, limits.in_flight, limits.request_line, limits.headers, limits.header_count
            ),
            trusted_proxies=settings.trusted_proxies,
            end_with_token=settings.streams.end_with_token,
        )

    def use(self, settings: config.Settings) -> None:
        """Apply other settings from now on. All new rules are built first, and then take effect in one step of the event loop.
        A request that has begun keeps the old rules; a stream that the new rules would not admit ends.

        When the settings are invalid, the exception of their check passes through, and nothing has changed.
        """
        rules = request_rules(settings, self.living, self.rules.generation + 1)
        self.settings, self.rules = settings, rules
        self.handler.use(rules)

    def emit(self, event: Event) -> None:
        """Pass an event to every handler."""
        for handler in self._handlers:
            handler(event)

    def _note_store(self, event: Event) -> None:
        if isinstance(event, StoreChanged):
            self.store_up = event.up

    def gauges(self) -> Gauges:
        """The current values of the parts, for the metrics."""
        condition = self.store.condition()
        return Gauges(
            in_flight=self.connections.in_flight,
            connections=self.connections.present,
            tunnels=len(self.tunnels),
            cache_hits=self.living.lookups.hits,
            cache_misses=self.living.lookups.misses,
            store_up=self.store_up,
            staleness=self.view.staleness(self.monotonic()),
            revocations=len(self.view),
            log_lines_dropped=lines_dropped(),
            store_writable=not condition.fault_of_writes,
            clock_skew=condition.skew,
            unreadable=condition.unreadable,
        )

    def acceptor(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Acceptor:
        """The acceptor that hands the connections of a listening socket to the connection manager. The caller starts it."""
        return Acceptor(
            self.connections,
            sock,
            tls=tls,
            handshake=self.settings.timeouts.request_header,  # the handshake precedes the request head
            introduced=self.settings.listen.proxy_protocol,
            on_pause=self._accept_paused,
            log_failure=log_failure,
        )

    def _accept_paused(self, fault: str) -> None:
        now = self.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _PAUSES_LOGGED_EVERY
            log.error("accept_paused", extra={"detail": fault, "connections": self.connections.present})

    async def readiness(self) -> Mapping[str, str | None]:
        """Each check with `None`, or with what is wrong. A store that takes no writes does not make the worker unready."""
        usable = self.view.usable(self.monotonic())
        causes = "; ".join(cause.sentence for cause in await self.pool.probe())
        return {
            "store": None if usable else "the revocation view is stale",
            WRITES: f"nothing can be revoked: {fault}" if (fault := self.store.condition().fault_of_writes) else None,
            "upstream": f"the API server does not accept connections: {causes}" if causes else None,
            "draining": "the worker is going away" if self.connections.draining else None,
        }

    async def close(self) -> None:
        """Close the parts and release what they hold."""
        self.living.close()
        self.access_log.close()
        await self.pool.close()
        await self.store.close()


def log_unasked(upstream: str) -> None:
    """Warn the operator about an API whose responses could reach the wrong client."""
    detail = "the API sent bytes that no request had asked for; for a while each connection to it carries one request"
    log.warning("upstream_spoke_unasked", extra={"upstream": upstream, "detail": detail})


def log_failure(where: str, defect: Exception) -> None:
    """Log a defect of the sidecar with its redacted traceback."""
    log.error("internal_error", exc_info=defect, extra={"where": where})
