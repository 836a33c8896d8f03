"""The supervisor, which is the parent of several workers: owns the sockets and the admin listener, and replaces a worker that
dies.

Each worker is a fresh process (`spawn`: it inherits neither memory nor event loop of the parent). It accepts from the shared
public socket and answers the parent's questions over a socket pair (`control`). A worker that cannot start says why before it
ends.

Rules:
- A worker that does not answer for `workers_timeout` hangs: its clients wait, and the system still gives it new ones. The
  parent kills and replaces it.
- When the parent cannot start a worker, it continues with the workers that it has and tries again, with growing pauses.
- On SIGTERM the parent first stops the socket from listening, while its workers still accept from it, and then tells them to
  stop. It kills a worker that has not ended in time, and ends in time itself (`ending`).
- When the parent is gone, a worker drains. A separate thread watches the parent, so that even a worker that hangs ends.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple

from sidecar.assembly.app import App, log_failure
from sidecar.config.settings import Settings
from sidecar.ops.admin import serve_admin
from sidecar.ops.logs import lines_dropped
from sidecar.ops.metrics import Accumulator, Replaced, Snapshot, render, without_gauges
from sidecar.runtime import signals
from sidecar.runtime.control import Answer, Conversation, Framing, Garbled, Kind, Message, Question, encode
from sidecar.runtime.descriptors import raise_descriptor_limit
from sidecar.runtime.ending import GRACE, EndedBadly, Ending, in_background
from sidecar.runtime.sockets import StartError, claim, stop_listening
from sidecar.runtime.worker import (
    Worker,
    assert_c_parser,
    log_ready,
    run,
    start_logging,
)

log: Final = logging.getLogger("sidecar")

_ANSWER_DEADLINE: Final = 2.0
_AT_A_TIME: Final = 64 * 1024  # bytes that a worker reads at a time
_BACKOFF: Final = (0.2, 10.0)  # seconds before a dead worker is replaced: at first, at most
_STABLE: Final = 30.0  # seconds; a worker that lived this long did start
_REMINDED: Final = 30.0  # seconds between two log lines that no worker runs
_ENDED_WITHIN: Final = GRACE + 2.0  # seconds besides the drain, before a worker is killed
_STARTED_WITHIN: Final = 60.0  # seconds for a worker's first answer
_ASKED_EVERY: Final = 1.0  # seconds, at most


def serve(settings: Settings) -> None:
    """Run `settings.workers` workers until SIGTERM or SIGINT. Raises `StartError` and `EndedBadly`."""
    assert_c_parser()
    raise_descriptor_limit()
    admin, public = claim(settings.admin.listen), claim(settings.listen.address)
    run(_supervise(settings, public, admin))


async def _supervise(settings: Settings, public: socket.socket, admin: socket.socket) -> None:
    await Supervisor(settings, public).run(admin)


class Life(NamedTuple):
    """How a worker ended: its exit code, if the process started at all, why the worker could not start, if known, and whether
    it was killed because it did not answer."""

    exit_code: int | None
    fault: str | None
    hung: bool = False


class Supervisor:
    """Keeps the workers running, and answers for them on the admin listener. Create it in the event loop."""

    def __init__(self, settings: Settings, public: socket.socket) -> None:
        self._settings = settings
        self._public = public
        self._loop = asyncio.get_running_loop()
        self._ending = Ending()
        self._stopping = asyncio.Event()
        self._leave = asyncio.Event()  # tells the workers to stop, once no client can connect any more
        self._children: dict[int, Child] = {}
        self._past = Accumulator()
        self._fault: str | None = None  # why the worker that ended last could not start
        self._told: dict[str, float] = {}  # faults of workers that could not start, and when each was logged
        self._replaced: Counter[Replaced] = Counter()
        self._failed = False

    async def run(self, admin: socket.socket) -> None:
        """Serve until a signal, then let every worker drain. Raises `EndedBadly` when a worker did not end properly."""
        settings = self._settings
        signals.heed(self._stop)
        runner = await serve_admin(admin, metrics=self._metrics, ready=self._ready)
        log_ready(settings, self._public, admin)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stop_listening())
                for slot in range(settings.workers):
                    group.create_task(self._keep_alive(slot), name=f"worker {slot}")
            self._ending.code = int(self._failed)
        finally:
            self._ending.doing = "ending the process"
            self._ending.within(GRACE)
            self._public.close()
            await runner.cleanup()
        if self._failed:
            raise EndedBadly

    def _stop(self) -> None:
        self._ending.within(self._settings.timeouts.drain + _ENDED_WITHIN + GRACE)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _stop_listening(self) -> None:
        await self._stopping.wait()
        await stop_listening(self._public)
        self._public.close()
        self._ending.doing = "letting the workers finish"
        self._leave.set()

    async def _keep_alive(self, slot: int) -> None:
        delay = _BACKOFF[0]
        while not self._stopping.is_set():
            born = time.monotonic()
            life = await self._live(slot)
            if self._stopping.is_set():
                # A worker that was still starting has no handler for SIGTERM yet.
                self._failed |= life.exit_code not in (None, 0, -signal.SIGTERM)
                return
            delay = _BACKOFF[0] if time.monotonic() - born > _STABLE else min(2 * delay, _BACKOFF[1])
            self._tell(slot, life, delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _live(self, slot: int) -> Life:
        """Start a worker and wait for its end."""
        try:
            child = Child(self._settings, self._public)
        except (OSError, MemoryError) as exc:
            return Life(None, f"no process can be started: {getattr(exc, 'strerror', None) or 'out of memory'}")
        self._children[slot] = child
        try:
            await child.started()
            return await self._watch(slot, child)
        finally:
            self._past.add(child.last_snapshot)
            del self._children[slot]

    def _tell(self, slot: int, life: Life, delay: float) -> None:
        """Log the end of a worker. A fault that keeps workers from starting is logged once until a worker has started, and
        again from time to time while none runs."""
        self._fault = life.fault
        self._replaced["hung" if life.hung else "died" if life.fault is None else "cannot_start"] += 1
        if life.fault is None:
            self._told.clear()
            log.error("worker_died", extra={"slot": slot, "exit_code": life.exit_code, "replaced_in": delay})
            return
        now, running = time.monotonic(), len(self._children)
        if life.fault not in self._told or (not running and now - max(self._told.values()) > _REMINDED):
            self._told[life.fault] = now
            figures = {"running": running, "tried_again_in": delay}
            log.error("worker_cannot_start", extra={"slot": slot, "detail": life.fault, **figures})

    async def _watch(self, slot: int, child: "Child") -> Life:
        """Wait for the child's end. A child that hangs is killed. When the supervisor stops, the child is told to stop, and
        killed if it does not."""
        ended = self._loop.create_task(child.ended())
        leave = self._loop.create_task(self._leave.wait())
        hanging = self._loop.create_task(child.hanging(self._settings.workers_timeout))
        await asyncio.wait([ended, leave, hanging], return_when=asyncio.FIRST_COMPLETED)
        hung = not (ended.done() or leave.done())
        leave.cancel()
        hanging.cancel()
        if hung:
            within = self._settings.workers_timeout
            detail = f"it did not answer for {within:g} s, is killed and will be replaced"
            log.error("worker_hung", extra={"slot": slot, "pid": child.pid, "detail": detail})
            child.signal(signal.SIGKILL)
        elif not ended.done():
            child.signal(signal.SIGTERM)
            within = self._settings.timeouts.drain + _ENDED_WITHIN
            _, late = await asyncio.wait([ended], timeout=within)
            if late:
                log.error(
                    "worker_killed", extra={"slot": slot, "detail": f"it had not ended {within:g} s after SIGTERM"}
                )
                child.signal(signal.SIGKILL)
        return Life(await ended, child.fault, hung)

    async def _metrics(self) -> bytes:
        asked = list(self._children.values())
        answers = await asyncio.gather(*(child.snapshot() for child in asked))
        # A worker that has ended meanwhile is among the past ones, and would count twice.
        present = set(self._children.values())
        snapshots = [answer for child, answer in zip(asked, answers, strict=True) if answer and child in present]
        return render(
            [*snapshots, *self._past.snapshots()],
            log_lines_dropped=lines_dropped(),
            replaced=self._replaced,
        )

    async def _ready(self) -> Mapping[str, str | None]:
        answers = await asyncio.gather(*(child.ready() for child in self._children.values()))
        checks: dict[str, str | None] = {}
        missing = self._settings.workers - sum(answer is not None for answer in answers)
        why = f": {self._fault}" if self._fault else ""
        checks["workers"] = f"{missing} of {self._settings.workers} do not answer{why}" if missing else None
        for answer in answers:
            for name, fault in (answer or {}).items():
                checks[name] = checks.get(name) or fault
        if self._stopping.is_set():
            checks["draining"] = "the process is going away"
        return checks


class Child:
    """A worker process, as its parent sees it. Raises `OSError` and `MemoryError` when no process can be started."""

    def __init__(self, settings: Settings, public: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process: BaseProcess = context.Process(target=work, args=(settings, public, theirs), daemon=False)
        try:
            with theirs, signals.withheld():
                self._process.start()
        except BaseException:
            ours.close()
            raise
        self._socket = ours
        self._conversation = Conversation(lambda garbled: log_failure("control", garbled))
        self.last_snapshot: Snapshot | None = None

    @property
    def fault(self) -> str | None:
        """Why the worker could not start, once it has said so."""
        return self._conversation.fault

    async def started(self) -> None:
        """Connect to the child's end of the pair."""
        await asyncio.get_running_loop().create_connection(lambda: self._conversation, sock=self._socket)

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    async def snapshot(self) -> Snapshot | None:
        """The worker's snapshot, which is kept as `last_snapshot`. When the worker does not answer in time, the counters of the
        last one: its gauges may have changed since."""
        snapshot: Snapshot | None = await self._conversation.ask(Kind.SNAPSHOT, _ANSWER_DEADLINE)
        if snapshot is not None:
            self.last_snapshot = snapshot
            return snapshot
        return without_gauges(self.last_snapshot) if self.last_snapshot else None

    async def hanging(self, within: float) -> None:
        """Return once the worker has not answered for `within` seconds. While it starts, it has more time."""
        patience = max(within, _STARTED_WITHIN)
        while True:
            if await self._conversation.ask(Kind.ALIVE, patience):
                patience = within
                await asyncio.sleep(min(_ASKED_EVERY, within / 4))
            elif self._conversation.over.is_set():
                await asyncio.sleep(within)  # the worker is about to end, as a rule
                return
            # Both processes may have been stopped meanwhile, such as by a debugger, and continued: then it answers now.
            elif not await self._conversation.ask(Kind.ALIVE, min(within, _ANSWER_DEADLINE)):
                return

    async def ready(self) -> dict[str, str | None] | None:
        """The worker's checks, or `None` when it does not answer in time."""
        checks: dict[str, str | None] | None = await self._conversation.ask(Kind.READY, _ANSWER_DEADLINE)
        return checks

    async def ended(self) -> int | None:
        """Wait for the process to end. Returns its exit code."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        loop.add_reader(self._process.sentinel, lambda: None if gone.done() else gone.set_result(None))
        try:
            await gone
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_DEADLINE):
                await self._conversation.over.wait()  # a fault may still be on its way
        self._conversation.close()
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send SIGKILL or SIGTERM, unless the process is gone."""
        if self._process.is_alive() and self._process.pid is not None:
            (self._process.kill if number == signal.SIGKILL else self._process.terminate)()


def work(settings: Settings, public: socket.socket, control: socket.socket) -> None:
    """The main function of a worker process. Exit code 1: it could not start, or it failed later."""
    try:
        start_logging(settings, alone=False)
        run(_work(settings, public, control))
    except StartError as exc:
        with contextlib.suppress(OSError):
            control.sendall(encode(Answer(Kind.FAULT, 0, str(exc))))
        sys.exit(1)
    except EndedBadly:
        sys.exit(1)


async def _work(settings: Settings, public: socket.socket, control: socket.socket) -> None:
    public.setblocking(False)  # noqa: FBT003  the signature of the standard library
    worker = Worker(settings, public, shared=True)
    signals.heed(worker.stop)
    in_background(lambda: _leave_with_parent(worker), "parent")
    answering = asyncio.get_running_loop().create_task(_answer(worker, control))
    try:
        await worker.run()
    finally:
        answering.cancel()


def _leave_with_parent(worker: Worker) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  a worker has one
    parent.join()
    _abandoned(worker)


def _abandoned(worker: Worker) -> None:
    """Stop a worker that has no parent any more. The worker must end the socket, because no other process will."""
    worker.shared = False
    worker.stop()


async def _answer(worker: Worker, control: socket.socket) -> None:
    """Answer the parent's questions until it is gone."""
    reader, writer = await asyncio.open_connection(sock=control)
    framing = Framing()
    try:
        while data := await reader.read(_AT_A_TIME):
            for message in framing.feed(data):
                writer.write(await _answer_to(message, worker.app))
                await writer.drain()
    except Garbled as exc:
        log_failure("control", exc)
        return  # the parent still exists: the worker continues
    except OSError:
        pass  # the parent went away before it had read an answer
    finally:
        writer.close()
    _abandoned(worker)


async def _answer_to(message: Message, app: App) -> bytes:
    """The line of the answer; empty when a defect prevents one. Raises `Garbled` when the message is no question."""
    if not isinstance(message, Question):
        raise Garbled("the parent answers")
    try:
        return encode(Answer(message.kind, message.number, await _body(message.kind, app)))
    except Exception as exc:  # noqa: BLE001  a defect here must not end the worker, and the socket with it
        log_failure(message.kind, exc)
        return b""


async def _body(kind: Kind, app: App) -> object:
    if kind is Kind.ALIVE:
        return True
    return app.metrics.snapshot() if kind is Kind.SNAPSHOT else dict(await app.readiness())
