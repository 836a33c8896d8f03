"""The composition root: settings in, the connected parts of one worker out. The only module that knows all of them."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from sidecar.assembly import readings
from sidecar.assembly.expiries import Expiries
from sidecar.assembly.living import living
from sidecar.assembly.snapshot import request_rules
from sidecar.config import settings as config
from sidecar.config.load import current_store_url
from sidecar.core.capacity import UNLIMITED, price
from sidecar.core.events import Event, StoreChanged
from sidecar.core.ports import Store
from sidecar.core.revocations import RevocationView
from sidecar.ops.access_log import AccessLog, request_lines
from sidecar.ops.admin import STORE, WRITES
from sidecar.ops.console.recent import Recent
from sidecar.ops.key_watch import KeyWatch
from sidecar.ops.metrics import Metrics
from sidecar.ops.process import Process
from sidecar.ops.snapshots import Readings
from sidecar.proxy.answering import Answering, Services
from sidecar.proxy.client.acceptor import Acceptor
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.forwarding import Upgrades
from sidecar.proxy.handler import AuthenticatingHandler
from sidecar.proxy.limits import ClientLimits, ClientRules, ClientTimeouts, PoolLimits, UpstreamTimeouts
from sidecar.proxy.rules import RequestRules
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.upstream.pool import UpstreamPool
from sidecar.proxy.upstream.server import UpstreamTls
from sidecar.stores import open_store
from sidecar.stores.timed import TimedStore
from sidecar.tls import server_context, upstream_context

log: Final = logging.getLogger("sidecar")

_PAUSES_LOGGED_EVERY: Final = 60.0  # seconds


class Prepared(NamedTuple):
    """Settings and all that depends on them, built before any of it is used. `tls` is for the public listener."""

    settings: config.Settings
    rules: RequestRules
    pool: UpstreamPool
    tls: ssl.SSLContext | None


class App:
    """The parts of one worker. `runtime.worker` and tests use `store`, `connections`, `pool` and `metrics`. `now` gives epoch
    seconds, `monotonic` monotonic seconds. `slot` is the number of the worker. Raises `InvalidTls`."""

    def __init__(
        self,
        settings: config.Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        slot: int = 0,
    ) -> None:
        self.now = now
        self.monotonic = monotonic
        self._loop = loop
        self.store_up = False
        self.store_known = asyncio.Event()  # set once the revocations are loaded, or the store is known to be down
        self._quiet_until = 0.0  # monotonic
        self.view = RevocationView(settings.store.max_staleness)
        self.store: Store = open_store(
            settings.store.url.get_secret_value(),
            prefix=settings.store.prefix,
            partitions=settings.store.partitions,
            timeout=settings.store.timeout,
            max_staleness=settings.store.max_staleness,
            clock=now,
            monotonic=monotonic,
            emit=self.emit,
            renewed=lambda: current_store_url(self.settings),
        )
        self.tunnels: set[Tunnel] = set()
        self._switching: set[Answering] = set()
        self._upgrades = Upgrades(self._switching, settings.limits.tunnels)
        timed = TimedStore(self.store, emit=self.emit, monotonic=monotonic)
        self.living = living(timed, self.view, emit=self.emit, clock=now, monotonic=monotonic)
        self.metrics = Metrics(self.readings)
        self._process = Process(f"worker-{slot}")
        self.expiries = Expiries(settings)
        self.recent, self.began = Recent(now), now()
        self._lines = request_lines(call_later=loop.call_later, clock=now)
        self._retired: list[UpstreamPool] = []  # pools that were replaced, and still carry exchanges
        self.settings, self.rules, self.pool, self.tls = self._prepare(settings, 0, self._new_pool(settings))
        self.access_log = self._access_log()
        self._handlers: list[Callable[[Event], None]] = self._listeners()
        self.key_watch = KeyWatch(log, lambda: self.rules.tokens.ring, now)
        self.handler = AuthenticatingHandler(
            self.rules,
            view=self.view,
            upgrades=self._upgrades,
            now=now,
            monotonic=monotonic,
            log_failure=log_failure,
        )
        services = self._services()
        self.connections = ClientConnections(
            self.handler, partial(Exchange, services), services, loop=loop, rules=_client_rules(settings)
        )

    def prepare(self, settings: config.Settings) -> Prepared:
        """Build everything that `use` needs. This changes no part that serves requests, and may run in another thread. When
        the settings cannot be used, the exception of their check passes through, such as `InvalidTls`."""
        pool = self.pool if _same_api(self.settings, settings) else self._new_pool(settings)
        return self._prepare(settings, self.rules.generation + 1, pool)

    def _prepare(self, settings: config.Settings, generation: int, pool: UpstreamPool) -> Prepared:
        tls = settings.tls
        context = server_context(tls.certificate, tls.key, tls.client_ca) if tls else None
        return Prepared(settings, request_rules(settings, self.living, generation), pool, context)

    def use(self, prepared: Prepared) -> None:
        """Apply other settings from now on, in one step of the event loop. A request that has begun keeps the old rules and
        its connection to the API; a stream that the new rules would not admit ends."""
        self.settings, self.rules, pool, self.tls = prepared
        self.expiries.use(self.settings)
        self._use_pool(pool)
        log.setLevel(self.settings.logging.level.upper())
        self.access_log.close()
        self.access_log = self._access_log()
        self._handlers = self._listeners()
        self.handler.use(self.rules)
        self._upgrades.most = self.settings.limits.tunnels
        self._use_services()
        self.connections.use(_client_rules(self.settings))

    def use_upstream_tls(self, context: ssl.SSLContext) -> None:
        """Use another TLS context for new connections to the API."""
        self._use_pool(self._new_pool(self.settings, context))
        self.expiries.use_upstream(self.settings)
        self._use_services()

    def _use_pool(self, pool: UpstreamPool) -> None:
        if pool is not self.pool:
            self.pool.retire()
            self._retired.append(self.pool)
            self.pool = pool

    def _use_services(self) -> None:
        services = self._services()
        self.connections.use_services(partial(Exchange, services), services)

    def _new_pool(self, settings: config.Settings, context: ssl.SSLContext | None = None) -> UpstreamPool:
        times, upstream = settings.timeouts, settings.upstream
        files = upstream.tls
        return UpstreamPool(
            upstream.url,
            loop=self._loop,
            timeouts=UpstreamTimeouts(times.connect, times.response, times.stream),
            limits=PoolLimits(upstream.max_connections, upstream.idle, upstream.max_age),
            monotonic=self.monotonic,
            on_unasked=log_unasked,
            tls=UpstreamTls(context or upstream_context(files.ca, files.certificate, files.key), files.server_name),
            each_its_host=upstream.host == "upstream",
        )

    def _services(self) -> Services:
        settings = self.settings
        return Services(
            self.pool,
            self.emit,
            None if self.access_log.admitted_shown else self.metrics,
            self.monotonic,
            self.tunnels,
            self._switching,
            settings.timeouts.stream,
            settings.limits.body,
            settings.compat == "tapdata",
            log_failure,
        )

    def _access_log(self) -> AccessLog:
        return AccessLog(logging.getLogger("sidecar.access"), self.settings.logging.admitted, self._lines)

    def _listeners(self) -> list[Callable[[Event], None]]:
        return [self._note_store, self.metrics.on_event, self.recent.on_event, self.access_log.on_event]

    def emit(self, event: Event) -> None:
        """Pass an event to every handler."""
        for handler in self._handlers:
            handler(event)

    def _note_store(self, event: Event) -> None:
        if isinstance(event, StoreChanged):
            self.store_up = event.up
            self.store_known.set()

    def readings(self) -> Readings:
        """What the parts count and measure themselves, for the metrics."""
        return readings.together(
            readings.of_clients(self.connections, self.tunnels, self._upgrades.most),
            readings.of_upstreams(self.pool, self._retired),
            readings.of_store(
                self.store.condition(),
                up=self.store_up,
                staleness=self.view.staleness(self.monotonic()),
                revocations=len(self.view),
            ),
            readings.of_living(self.living),
            readings.of_keys(self.rules.tokens.ring, self.expiries.by_use(), self.now()),
            self._process.readings(),
        )

    def check_upstreams(self, now: float) -> None:
        """Check for slow upstreams, also of the settings before. To be called about once a second."""
        self._retired = [pool for pool in self._retired if pool.occupied]
        for pool in (self.pool, *self._retired):
            pool.check(now)

    def acceptor(self, sock: socket.socket) -> Acceptor:
        """The acceptor that hands the connections of a listening socket to the connection manager. The caller starts it."""
        return Acceptor(
            self.connections,
            sock,
            tls=self.tls,
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
        usable, condition = self.view.usable(self.monotonic()), self.store.condition()
        away = f": {condition.fault}" if condition.fault else ""
        causes = "; ".join(f"{fault.upstream}: {fault.detail}" for fault in await self.pool.probe())
        return {
            STORE: None if usable else f"the revocation view is stale{away}",
            WRITES: f"nothing can be revoked: {fault}" if (fault := condition.fault_of_writes) else None,
            "upstream": f"the API server does not accept connections: {causes}" if causes else None,
            "draining": "the worker is going away" if self.connections.draining else None,
        }

    async def close(self) -> None:
        """Close the parts and release what they hold."""
        self.living.close()
        self.access_log.close()
        for pool in (self.pool, *self._retired):
            await pool.close()
        await self.store.close()


def _same_api(old: config.Settings, new: config.Settings) -> bool:
    """Whether the connections to the API can stay."""
    names = ("connect", "response", "stream")
    times = all(getattr(old.timeouts, name) == getattr(new.timeouts, name) for name in names)
    return times and old.upstream == new.upstream


def _client_rules(settings: config.Settings) -> ClientRules:
    times, limits = settings.timeouts, settings.limits
    return ClientRules(
        ClientTimeouts(times.request_header, times.idle),
        ClientLimits(
            limits.connections,
            limits.in_flight,
            limits.request_line,
            limits.headers,
            limits.header_count,
            limits.memory or UNLIMITED,
            price(secure=settings.tls is not None),
        ),
        settings.trusted_proxies,
        settings.streams.end_with_token,
    )


def log_unasked(upstream: str) -> None:
    """Warn the operator about an API whose responses could reach the wrong client."""
    detail = "the API sent bytes that no request had asked for; for a while each connection to it carries one request"
    log.warning("upstream_spoke_unasked", extra={"upstream": upstream, "detail": detail})


def log_failure(where: str, defect: Exception) -> None:
    """Log a defect of the sidecar with its redacted traceback."""
    log.error("internal_error", exc_info=defect, extra={"where": where})
