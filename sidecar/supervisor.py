"""The parent of several workers: owns the sockets and the admin listener, and replaces a worker that dies.

Each worker is a fresh process (`spawn`: nothing of the parent's memory or event loop goes along) that accepts from the
shared public socket and answers questions of the parent over a socket pair: one line `snapshot` or `ready` in, one line
of JSON out. When the parent is gone the pair closes, and the worker drains.

On SIGTERM the parent first ends the socket, while its workers go on to accept from it, and then tells them to go.
"""

import asyncio
import json
import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from typing import Any, Final

from sidecar.listening import bind, stop_listening, url_of
from sidecar.ops.admin import admin_app
from sidecar.ops.logs import configure, lines_dropped
from sidecar.ops.metrics import Accumulator, render
from sidecar.server import (
    BackgroundFailed,
    Worker,
    assert_c_parser,
    log_ready,
    raise_descriptor_limit,
    run,
    start_admin,
    stop_on_signals,
)
from sidecar.settings import Settings

log: Final = logging.getLogger("sidecar")

_ANSWER_DEADLINE: Final = 2.0
_LINE_LIMIT: Final = 1024 * 1024
_BACKOFF: Final = (0.2, 10.0)  # seconds before a dead worker is replaced: at first, at most
_STABLE: Final = 30.0  # a worker that lived this long was no failed start


def serve(settings: Settings) -> None:
    """Run `settings.workers` workers until SIGTERM or SIGINT. Raises `StartError`."""
    assert_c_parser()
    raise_descriptor_limit()
    run(Supervisor(settings).run())


class Supervisor:
    """Keeps the workers alive and speaks for them on the admin listener."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._leave = asyncio.Event()  # for the workers, once nobody can reach them any more
        self._children: dict[int, Child] = {}
        self._past = Accumulator()

    async def run(self) -> None:
        """Serve until a signal, then let every worker drain."""
        settings = self._settings
        public, admin = bind(settings.listen), bind(settings.admin.listen)
        runner = await start_admin(admin_app(metrics=self._metrics, ready=self._ready), admin)
        stop_on_signals(self._stopping.set)
        log_ready(url_of(public, secure=settings.tls is not None), url_of(admin))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stop_listening(public))
                for slot in range(settings.workers):
                    group.create_task(self._keep_alive(slot, public))
        finally:
            public.close()
            await runner.cleanup()

    async def _stop_listening(self, public: socket.socket) -> None:
        await self._stopping.wait()
        await stop_listening(public)
        public.close()
        self._leave.set()

    async def _keep_alive(self, slot: int, public: socket.socket) -> None:
        delay = _BACKOFF[0]
        while not self._stopping.is_set():
            child = self._children[slot] = Child(self._settings, public)
            born = time.monotonic()
            await child.started()
            code = await self._watch(child)
            self._past.add(child.last_snapshot)
            del self._children[slot]
            if self._stopping.is_set():
                return
            delay = _BACKOFF[0] if time.monotonic() - born > _STABLE else min(2 * delay, _BACKOFF[1])
            log.error("worker_died", extra={"slot": slot, "exit_code": code, "replaced_in": delay})
            try:
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _watch(self, child: "Child") -> int | None:
        """Wait for the child's end; tell it to stop when we stop, and end it when it does not."""
        loop = asyncio.get_running_loop()
        ended = loop.create_task(child.ended())
        leave = loop.create_task(self._leave.wait())
        await asyncio.wait([ended, leave], return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        if not ended.done():
            child.signal(signal.SIGTERM)
            _, late = await asyncio.wait([ended], timeout=self._settings.timeouts.drain + 5)
            if late:
                child.signal(signal.SIGKILL)
        return await ended

    async def _metrics(self) -> bytes:
        await asyncio.gather(*(child.ask("snapshot") for child in self._children.values()))
        snapshots = [child.last_snapshot for child in self._children.values() if child.last_snapshot]
        return render([*snapshots, *self._past.snapshots()], log_lines_dropped=lines_dropped())

    async def _ready(self) -> Mapping[str, str | None]:
        answers = await asyncio.gather(*(child.ask("ready") for child in self._children.values()))
        checks: dict[str, str | None] = {}
        missing = self._settings.workers - sum(answer is not None for answer in answers)
        checks["workers"] = f"{missing} of {self._settings.workers} do not answer" if missing else None
        for answer in answers:
            for name, fault in (answer or {}).items():
                checks[name] = checks.get(name) or fault
        if self._stopping.is_set():
            checks["draining"] = "the process is going away"
        return checks


class Child:
    """A worker process, seen from its parent."""

    def __init__(self, settings: Settings, public: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process: BaseProcess = context.Process(target=work, args=(settings, public, theirs), daemon=False)
        self._process.start()
        theirs.close()
        self._socket = ours
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.last_snapshot: dict[str, Any] | None = None

    async def started(self) -> None:
        """Connect to the child's end of the pair."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=_LINE_LIMIT)

    async def ask(self, question: str) -> dict[str, Any] | None:
        """The child's answer, or `None` when it gives none in time. A snapshot is kept as well."""
        if self._reader is None or self._writer is None:
            return None
        try:
            async with asyncio.timeout(_ANSWER_DEADLINE), self._lock:
                self._writer.write(question.encode() + b"\n")
                line = await self._read_answer(question)
        except (TimeoutError, OSError, ValueError, RuntimeError):  # the last is uvloop's, when the child is gone
            return None
        if question == "snapshot" and line is not None:
            self.last_snapshot = line
        return line

    async def _read_answer(self, question: str) -> dict[str, Any] | None:
        """Read up to the answer to this question: one that came too late for its asker may stand before it."""
        assert self._reader is not None  # noqa: S101  ask checked it
        while line := await self._reader.readline():
            answer: dict[str, Any] = json.loads(line)
            if answer["to"] == question:
                body: dict[str, Any] = answer["body"]
                return body
        return None

    async def ended(self) -> int | None:
        """Wait for the process to end; gives its exit code."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        loop.add_reader(self._process.sentinel, lambda: None if gone.done() else gone.set_result(None))
        try:
            await gone
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        if self._writer is not None:
            self._writer.close()
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal, unless it is gone."""
        if self._process.is_alive() and self._process.pid is not None:
            (self._process.kill if number == signal.SIGKILL else self._process.terminate)()


def work(settings: Settings, public: socket.socket, control: socket.socket) -> None:
    """The main function of a worker process. Exit code 1: it could not go on."""
    configure(settings.logging.level, settings.logging.format, alone=False)
    try:
        run(_work(settings, public, control))
    except BackgroundFailed:
        sys.exit(1)


async def _work(settings: Settings, public: socket.socket, control: socket.socket) -> None:
    public.setblocking(False)  # noqa: FBT003  the signature of the standard library
    worker = Worker(settings, public, shared=True)
    stop_on_signals(worker.stop)
    loop = asyncio.get_running_loop()
    answering = loop.create_task(_answer(worker, control))
    try:
        await worker.run()
    finally:
        answering.cancel()


async def _answer(worker: Worker, control: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=control)
    app = worker.app
    try:
        while line := await reader.readline():
            question = line.decode().strip()
            body = app.metrics.snapshot() if question == "snapshot" else dict(await app.readiness())
            writer.write(json.dumps({"to": question, "body": body}).encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()
        # The parent is gone: by an end, or by an error when it had not read an answer. The socket is ours to end, then.
        worker.shared = False
        worker.stop()
