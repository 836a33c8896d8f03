"""One worker: its listeners, its background tasks, and how it ends.

A worker begins to accept connections after all its parts are connected. On SIGTERM it stops accepting, lets requests finish
within `timeouts.drain`, and closes the rest. A single worker owns the listening socket and ends it (`runtime.sockets`); one of
several continues to accept until its parent has ended the socket.

The steps after SIGTERM may take `timeouts.drain` and a few seconds. Then the process ends, whatever hangs (`runtime.ending`).

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
from typing import Any, Final

import uvloop
from aiohttp import http_parser, web

from sidecar.assembly.app import App, log_failure
from sidecar.config.settings import Settings
from sidecar.core.restarts import Restarts
from sidecar.ops.admin import serve_admin
from sidecar.ops.logs import configure
from sidecar.ops.metrics import render
from sidecar.runtime import signals
from sidecar.runtime.descriptors import raise_descriptor_limit, within_descriptors
from sidecar.runtime.ending import GRACE, NO_THREAD, EndedBadly, Ending
from sidecar.runtime.sockets import StartError, claim, stop_listening, url_of
from sidecar.tls import CertificateWatch, InvalidTls, server_context

log: Final = logging.getLogger("sidecar")

_OWNER_WITHIN: Final = 1.0  # seconds for the owner of a shared socket to end it, if it was told to stop as well
_STEP: Final = 1.0  # seconds for each step of closing
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
        public: socket.socket,
        *,
        shared: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        settings = self._settings = within_descriptors(settings)
        self._public = public
        self.shared = shared
        self.ending = Ending()
        self._jitter = jitter
        self._failed = False
        self._stop = asyncio.Event()
        loop = self._loop = asyncio.get_running_loop()
        tls = settings.tls
        try:
            self.app = App(settings, loop)
            context = server_context(tls.certificate, tls.key, tls.client_ca) if tls else None
        except InvalidTls as exc:
            raise StartError(f"TLS: {exc}") from None
        self._acceptor = self.app.acceptor(public, context)
        self._certificates = (
            CertificateWatch(tls.certificate, tls.key, tls.client_ca, apply=self._use_tls, report=log_certificate)
            if tls
            else None
        )
        self._look_again = 0.0
        self._background: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Begin to stop. A second call changes nothing. Signal handlers and other threads may call this."""
        self.ending.within(self._settings.timeouts.drain + GRACE)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, then drain. Calls `started` once the worker accepts connections. Raises `EndedBadly` at the end
        when the worker stopped because a background task failed."""
        app = self.app
        self._keep("feed", lambda: app.store.follow(app.view))
        self._keep("clock", self._tick)
        self._acceptor.start()
        # The objects that exist now live until the end: exclude them from every full collection.
        gc.collect()
        gc.freeze()
        started()
        try:
            await self._stop.wait()
            deadline = app.monotonic() + self._settings.timeouts.drain
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

    async def _stop_accepting(self) -> None:
        if not self.shared:
            await stop_listening(self._public)
        elif not self._failed:
            await self._acceptor.ended(_OWNER_WITHIN)
        # A failed worker of several leaves the waiting connections to the others.
        self._acceptor.close(leave=self.shared and self._failed)

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

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._stop.is_set():
            # Fail closed: without its feed or its clock a worker must not go on serving.
            self._failed = True
            self.stop()

    async def _tick(self) -> None:
        """Check regularly for slow clients and a slow upstream, for lapsed keys and for changed certificates."""
        app, times = self.app, self._settings.timeouts
        interval = min(1.0, *(limit / 4 for limit in (times.request_header, times.idle, times.response, times.stream)))
        while True:
            await asyncio.sleep(interval)
            now = app.monotonic()
            for check in (app.connections.check, app.pool.check, app.key_watch.check, self._check_certificates):
                try:
                    check(now)
                except Exception as exc:  # noqa: BLE001  a defect in one check must not end the clock
                    log_failure("check", exc)

    def _check_certificates(self, now: float) -> None:
        if self._certificates is not None and now > self._look_again:
            self._look_again = now + _CERTIFICATE_INTERVAL
            self._certificates.check()

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


async def start_own_admin(app: App, sock: socket.socket) -> web.AppRunner:
    """Serve the admin endpoints of a single worker on a socket that listens already."""

    async def metrics() -> bytes:
        return render([app.metrics.snapshot()])

    return await serve_admin(sock, metrics=metrics, ready=app.readiness)


async def _serve_one(settings: Settings, public: socket.socket, admin: socket.socket) -> None:
    worker = Worker(settings, public)
    signals.heed(worker.stop)
    runner = await start_own_admin(worker.app, admin)
    try:
        await worker.run(lambda: log_ready(settings, public, admin))
    finally:
        await runner.cleanup()


def log_certificate(fault: str | None) -> None:
    """Tell the operator that certificate, key and CA were read again, or why they were not."""
    if fault is None:
        log.info("certificate_changed")
    else:
        log.error("certificate_unusable", extra={"detail": f"{fault}; the old one stays"})


def log_ready(settings: Settings, public: socket.socket, admin: socket.socket) -> None:
    """Tell the operator where the sidecar listens, so that an unintended port is noticed."""
    where = {
        "public": url_of(public, settings.listen.address.host, secure=settings.tls is not None),
        "admin": url_of(admin, settings.admin.listen.host),
    }
    log.info("listening", extra=where)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, as the last action of the process."""
    try:
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    finally:
        signals.end()


def serve(settings: Settings) -> None:
    """Run one worker in this process until SIGTERM or SIGINT. Raises `StartError` and `EndedBadly`."""
    assert_c_parser()
    raise_descriptor_limit()
    admin, public = claim(settings.admin.listen), claim(settings.listen.address)
    run(_serve_one(settings, public, admin))
