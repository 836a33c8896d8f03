"""One worker: its listeners, its background tasks, and how it ends.

A worker opens the public port once it knows the revocations, or knows that the store is down. It leaves in two steps. In the
*soft* drain it serves new connections as before, but is not ready, and each response ends its connection; a balancer that
notices sends nothing more. On SIGTERM it stops accepting, lets requests finish within `drain.timeout`, and closes the rest. A
single worker owns the listening socket and ends it (`runtime.sockets`); one of several continues to accept until its parent
has ended the socket.

The steps after SIGTERM may take the rest of `drain.delay`, `drain.timeout` and a few seconds. Then the process ends, whatever
hangs (`runtime.ending`).

A background task (the revocation feed, the clock) is restarted when it fails. While the feed does not run the view grows stale,
so requests get 503. When a task keeps failing (`core.restarts`) the worker ends as on SIGTERM, but with a failure.
"""

import asyncio
import contextlib
import gc
import logging
import random
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import uvloop
from aiohttp import http_parser, web

from sidecar.assembly.app import App, Prepared, log_failure
from sidecar.config.settings import Settings
from sidecar.core.restarts import Restarts
from sidecar.ops.admin import Impossible, Operations, serve_admin
from sidecar.ops.console.history import History
from sidecar.ops.exposition import render
from sidecar.ops.logs import configure
from sidecar.runtime import signals
from sidecar.runtime.console import alone, source_of
from sidecar.runtime.descriptors import Descriptors, raise_descriptor_limit
from sidecar.runtime.ending import GRACE, NO_THREAD, EndedBadly, Ending
from sidecar.runtime.leaving import SoftDrain, first_of
from sidecar.runtime.memory import Memory
from sidecar.runtime.reloading import NotApplied, Reloader
from sidecar.runtime.sockets import Listener, StartError, claim, url_of
from sidecar.tls import CertificateWatch, InvalidTls, server_context, upstream_context

log: Final = logging.getLogger("sidecar")

Announce = Callable[[str, str], None]

_OWNER_WITHIN: Final = 1.0  # seconds for the owner of a shared socket to end it, if it was told to stop as well
_STEP: Final = 1.0  # seconds for each step of closing
_LOADED_WITHIN: Final = 60.0  # seconds; then the port opens, and the worker answers 503 until it knows the revocations
_CERTIFICATE_INTERVAL: Final = 2.0  # seconds between two checks of the files


def start_logging(settings: Settings, *, alone: bool) -> None:
    """Start logging to stderr. `alone`: no other process of the sidecar writes there. Raises `StartError`."""
    try:
        configure(settings.logging.level, settings.logging.format, alone=alone)
    except RuntimeError:
        raise StartError(NO_THREAD) from None


def assert_c_parser() -> None:
    """aiohttp's parser in pure Python is laxer than the one in C: refuse to run with it. Raises `StartError`."""
    if http_parser.HttpRequestParser is not getattr(http_parser, "HttpRequestParserC", None):
        raise StartError("aiohttp came without its C parser: install a wheel, and unset AIOHTTP_NO_EXTENSIONS")


class Worker:
    """Runs one `App` until it is told to stop. `shared`: other processes accept from the socket too, and the parent ends it.
    `jitter` gives a random number from 0 to 1, for the pauses before restarts. Raises `StartError`."""

    def __init__(
        self,
        settings: Settings,
        public: Listener,
        *,
        shared: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._descriptors, self._memory = Descriptors(), Memory(settings.workers)
        self.public = public
        self.shared = shared
        self.soft = SoftDrain([public])  # of a single worker; the parent of several has its own
        self.ending = Ending()
        self._jitter = jitter
        self._failed = False
        self._replaced = False  # a new worker has taken the place of this one, and accepts from the shared socket
        self._stop = asyncio.Event()
        loop = self._loop = asyncio.get_running_loop()
        try:
            self.app = App(self._affordable(settings), loop)
        except InvalidTls as exc:
            raise StartError(f"TLS: {exc}") from None
        self._acceptor = self.app.acceptor(public.sock)
        self._certificates = self._certificate_watches()
        self._look_again = 0.0
        self._background: list[asyncio.Task[None]] = []

    def _affordable(self, settings: Settings) -> Settings:
        """The settings with the limits that this process can hold."""
        return self._memory.within(self._descriptors.within(settings))

    # Another configuration.

    def prepare(self, settings: Settings) -> Prepared:
        """Build what `use` needs; see `App.prepare`. Raises `NotApplied`."""
        try:
            return self.app.prepare(self._affordable(settings))
        except InvalidTls as exc:
            raise NotApplied(f"TLS: {exc}") from None

    def use(self, prepared: Prepared) -> None:
        """Apply other settings from now on."""
        before = self.app.settings
        self.app.use(prepared)
        self._acceptor.tls = self.app.tls
        self._acceptor.handshake = prepared.settings.timeouts.request_header
        if (before.tls, before.upstream) != (prepared.settings.tls, prepared.settings.upstream):
            self._certificates = self._certificate_watches()

    async def apply(self, settings: Settings) -> None:
        """Prepare and use settings. Raises `NotApplied`."""
        self.use(await asyncio.to_thread(self.prepare, settings))

    # Leaving.

    def drain(self) -> None:
        """Begin the soft drain. A second call changes nothing."""
        self.app.connections.draining = True
        if not self.shared:
            self.soft.begin(self.app.settings.drain.delay)

    def leave(self) -> None:
        """Begin to stop, because a new worker has taken the place of this one."""
        self._replaced = True
        self.stop()

    def stop(self) -> None:
        """Begin to stop. A second call changes nothing. Signal handlers and other threads may call this."""
        self.ending.within(self.soft.left + self.app.settings.drain.timeout + GRACE)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def stopping(self) -> bool:
        """Whether the event loop has begun to stop."""
        return self._stop.is_set()

    def end_socket(self) -> None:
        """Stop the public socket from listening at once. Other threads may call this."""
        self.public.end_at_once()

    async def run(self, opened: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, then drain. Calls `opened` once the public port is open. Raises `EndedBadly` at the end when the
        worker stopped because a background task failed."""
        app = self.app
        self._keep("feed", self._follow)
        self._keep("clock", self._tick)
        # The objects that exist now live until the end: exclude them from every full collection.
        gc.collect()
        gc.freeze()
        try:
            if await self._loaded():
                self.public.open()
                self._acceptor.start()
                opened()
            await self._stop.wait()
            await asyncio.sleep(self.soft.left)
            deadline = app.monotonic() + app.settings.drain.timeout
            app.connections.draining = True
            await self._stop_accepting()
            log.info("draining", extra={"in_flight": app.connections.in_flight})
            cut = await app.connections.drain(deadline - app.monotonic())
            log.info("stopped", extra={"requests_cut": cut})
            self.ending.code = int(self._failed)
        finally:
            self._acceptor.close()
            await self._close()
        if self._failed:
            raise EndedBadly

    async def _loaded(self) -> bool:
        """Wait until the worker knows the revocations, or that the store is down, but not for ever. Returns false when the
        worker was told to stop before."""
        await first_of(self.app.store_known.wait(), self._stop.wait(), within=_LOADED_WITHIN)
        return not self._stop.is_set()

    async def _stop_accepting(self) -> None:
        if not self.shared:
            self.soft.hand_over()
            await self.public.stop()
        elif not (self._failed or self._replaced):
            await self._acceptor.ended(_OWNER_WITHIN)
        # A worker that others outlast leaves the waiting connections to them; so does a socket that was lent.
        self._acceptor.close(leave=self.public.lent or (self.shared and (self._failed or self._replaced)))

    def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(self._keep_running(name, work), name=name)
        task.add_done_callback(self._background_ended)
        self._background.append(task)

    async def _keep_running(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the work, and restart it when it fails. Returns when it has failed too often."""
        restarts = Restarts()
        while True:
            begun = self.app.monotonic()
            defect = await _outcome(work())
            pause = restarts.failed(self.app.monotonic() - begun)
            fields = {"task": name, "failures": restarts.in_a_row}
            if pause is None:
                log.error("background_task_ended", exc_info=defect, extra={**fields, "detail": "the worker ends"})
                return
            pause *= 0.5 + 0.5 * self._jitter()
            log.error("background_task_ended", exc_info=defect, extra={**fields, "restarted_in": round(pause, 3)})
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        try:
            await self.app.store.follow(self.app.view)
        finally:
            self.app.store_known.set()  # it failed: nothing is known, and clients are told to try again

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._stop.is_set():
            # Fail closed: without its feed or its clock a worker must not go on serving.
            self._failed = True
            self.stop()

    async def _tick(self) -> None:
        """Check regularly for slow clients and a slow upstream, for lapsed keys and for changed certificates."""
        app = self.app
        while True:
            times = app.settings.timeouts
            limits = (times.request_header, times.idle, times.response, times.stream)
            await asyncio.sleep(min(1.0, *(limit / 4 for limit in limits)))
            now = app.monotonic()
            for check in (app.connections.check, app.check_upstreams, app.key_watch.check, self._check_certificates):
                try:
                    check(now)
                except Exception as exc:  # noqa: BLE001  a defect in one check must not end the clock
                    log_failure("check", exc)

    def _certificate_watches(self) -> list[CertificateWatch]:
        settings, app = self.app.settings, self.app
        listener, api = settings.tls, settings.upstream.tls
        watches = []
        if listener is not None:
            files = (listener.certificate, listener.key, listener.client_ca)
            watches.append(CertificateWatch(server_context, files, apply=self._use_tls, report=log_certificate))
        if api.ca or api.certificate:
            own = (api.ca, api.certificate, api.key)
            report = partial(log_certificate, of="upstream")
            watches.append(CertificateWatch(upstream_context, own, apply=app.use_upstream_tls, report=report))
        return watches

    def _check_certificates(self, now: float) -> None:
        if now > self._look_again:
            self._look_again = now + _CERTIFICATE_INTERVAL
            for watch in self._certificates:
                watch.check()

    def _use_tls(self, context: ssl.SSLContext) -> None:
        self._acceptor.tls = context

    async def _close(self) -> None:
        """Close the parts. Each step may take a second; a step that hangs is left behind, and `ending` logs it."""
        self.ending.within(GRACE)
        self.ending.doing = "ending the background tasks"
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background, timeout=_STEP)
        self.ending.doing = "closing the connections to API and store"
        closing = self._loop.create_task(_outcome(self.app.close()), name="closing")
        await asyncio.wait([closing], timeout=_STEP)
        defect = closing.result() if closing.done() else None
        if defect is not None:
            log_failure("close", defect)
        self.ending.doing = "ending the process"


async def _outcome(work: Coroutine[Any, Any, None]) -> Exception | None:
    """The exception of the work, or `None` when it returned. For work that should never end, to return is a fault as well."""
    try:
        await work
    except Exception as exc:  # noqa: BLE001  the caller logs and counts it
        return exc
    return None


async def start_own_admin(worker: Worker, admin: Listener, reloader: Reloader) -> web.AppRunner:
    """Serve the admin endpoints of a single worker."""
    app = worker.app
    admin.open()
    worker.soft.listeners.append(admin)

    async def metrics() -> bytes:
        return render([app.metrics.snapshot()], reloader.configuration)

    async def drain() -> float:
        worker.drain()
        return app.settings.drain.delay

    async def roll() -> list[str]:
        raise Impossible("there is one worker: start a second sidecar at the same address, which takes over")

    return await serve_admin(
        admin.sock,
        Operations(
            metrics,
            app.readiness,
            lambda: app.settings.admin.ready_needs_store,
            reloader.reload,
            drain,
            roll,
            source_of(reloader, alone(app), History(app.monotonic), public=worker.public.sock, admin=admin.sock),
        ),
    )


async def _serve_one(settings: Settings, public: Listener, admin: Listener, announce: Announce | None) -> None:
    worker = Worker(settings, public)
    reloader = Reloader(settings, worker.apply)
    signals.heed(worker.stop, reload=reloader.soon, drain=worker.drain)
    log_starting(settings, public.sock, admin.sock)
    runner = await start_own_admin(worker, admin, reloader)
    watching = asyncio.get_running_loop().create_task(reloader.watch(), name="configuration")

    def ready() -> None:
        log_ready(settings, public.sock, admin.sock)
        if announce is not None:
            announce(url_of(public.sock, secure=settings.tls is not None), url_of(admin.sock))

    try:
        await worker.run(ready)
    finally:
        watching.cancel()
        await runner.cleanup()


def log_certificate(fault: str | None, of: str = "listener") -> None:
    """Tell the operator that certificate, key and CA were read again, or why they were not."""
    if fault is None:
        log.info("certificate_changed", extra={"of": of})
    else:
        log.error("certificate_unusable", extra={"of": of, "detail": f"{fault}; the old one stays"})


def log_starting(settings: Settings, public: socket.socket, admin: socket.socket) -> None:
    """Tell the operator that the admin listener is open, and that the public port will be."""
    log.info("starting", extra=_places(settings, public, admin))


def log_ready(settings: Settings, public: socket.socket, admin: socket.socket) -> None:
    """Tell the operator where the sidecar listens, so that an unintended port is noticed."""
    log.info("listening", extra=_places(settings, public, admin))


def _places(settings: Settings, public: socket.socket, admin: socket.socket) -> dict[str, str]:
    return {
        "public": url_of(public, secure=settings.tls is not None),
        "admin": url_of(admin),
    }


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, as the last action of the process."""
    try:
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    finally:
        signals.end()


def serve(settings: Settings, announce: Announce | None = None) -> None:
    """Run one worker in this process until SIGTERM or SIGINT. `announce` is called when clients can connect, with the URLs of
    the public and the admin listener. Raises `StartError` and `EndedBadly`."""
    assert_c_parser()
    raise_descriptor_limit()
    admin, public = claim_both(settings)
    run(_serve_one(settings, public, admin, announce))


def claim_both(settings: Settings) -> tuple[Listener, Listener]:
    """The listeners of the admin and the public address. Raises `StartError`."""
    admin = claim(settings.admin.listen, name="admin", number=1)
    return admin, claim(settings.listen.address, name="public", number=0)
