"""The supervisor, which is the parent of several workers: owns the sockets and the admin listener, and replaces a worker that
dies.

Each worker is a fresh process (`spawn`: it inherits neither memory nor event loop of the parent). It accepts from the shared
public socket and answers the parent's questions over a socket pair (`control`). A worker that cannot start says why before it
ends.

Rules:
- A worker that does not answer for `workers_timeout` hangs: its clients wait, and the system still gives it new ones. The
  parent kills and replaces it.
- When the parent cannot start a worker, it continues with the workers that it has and tries again, with growing pauses. When
  all workers end again and again soon after their start, the parent ends with the cause: its own parent should know.
- Other settings are used by all workers or by none: each one prepares them, and then each one uses them.
- To *roll* the workers means to replace each one, while its successor already accepts connections.
- On SIGTERM the parent first stops the socket from listening, while its workers still accept from it, and then tells them to
  stop. It kills a worker that hangs or has not ended in time, and ends in time itself (`ending`).
- When the parent is gone, a worker drains (`worker_process`).
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from sidecar.config.settings import Settings
from sidecar.ops.admin import Impossible, Operations, serve_admin
from sidecar.ops.catalogue import Replaced
from sidecar.ops.console.history import History
from sidecar.ops.deployment import Parent, deployment
from sidecar.ops.exposition import render
from sidecar.ops.logs import lines_dropped
from sidecar.ops.process import Process
from sidecar.ops.snapshots import Accumulator
from sidecar.runtime import signals
from sidecar.runtime.child import Child, Life
from sidecar.runtime.console import Crew, source_of
from sidecar.runtime.crew import last_tally, several
from sidecar.runtime.descriptors import raise_descriptor_limit
from sidecar.runtime.ending import GRACE, EndedBadly, Ending
from sidecar.runtime.leaving import SoftDrain
from sidecar.runtime.reloading import NotApplied, Reloader
from sidecar.runtime.sockets import Listener
from sidecar.runtime.worker import assert_c_parser, claim_both, log_ready, log_starting, run
from sidecar.runtime.worker_process import pack

log: Final = logging.getLogger("sidecar")
Checks = Mapping[str, str | None]
"""What is wrong with each part, or `None`."""

_BACKOFF: Final = (0.2, 10.0)  # seconds before a dead worker is replaced: at first, at most
_STABLE: Final = 30.0  # seconds; a worker that lived this long did start
_MOST_CRASHES: Final = 6  # of each worker in a row, before the parent ends
_REMINDED: Final = 30.0  # seconds between two log lines that no worker runs
_ENDED_WITHIN: Final = GRACE + 2.0  # seconds besides the drain, before a worker is killed
_OPENED_WITHIN: Final = 90.0  # seconds for a new worker to accept connections


def serve(settings: Settings) -> None:
    """Run `settings.workers` workers until SIGTERM or SIGINT. Raises `StartError` and `EndedBadly`."""
    assert_c_parser()
    raise_descriptor_limit()
    admin, public = claim_both(settings)
    run(_supervise(settings, public, admin))


async def _supervise(settings: Settings, public: Listener, admin: Listener) -> None:
    await Supervisor(settings, public).run(admin)


class Supervisor:
    """Keeps the workers running, and answers for them on the admin listener. Create it in the event loop."""

    def __init__(self, settings: Settings, public: Listener) -> None:
        self._reloader = Reloader(settings, self._apply)
        self._settings = settings
        self._public = public
        self._loop = asyncio.get_running_loop()
        self._ending = Ending()
        self._stopping = asyncio.Event()
        self._leave = asyncio.Event()  # tells the workers to stop, once no client can connect any more
        self._soft = SoftDrain([public])
        self._telling: set[asyncio.Task[None]] = set()  # workers that are told of the soft drain
        self._children: dict[int, Child] = {}
        self._leaving: dict[Child, asyncio.Task[None]] = {}  # workers that others have replaced, while they drain
        self._rolling = asyncio.Lock()
        self._past, self._history = Accumulator(), History(time.monotonic)
        self._crashes = 0
        self._fault: str | None = None  # why the worker that ended last could not start
        self._told: dict[str, float] = {}  # faults of workers that could not start, and when each was logged
        self._replaced: Counter[Replaced] = Counter()
        self._process = Process("parent")
        self._failed = False

    async def run(self, admin: Listener) -> None:
        """Serve until a signal, then let every worker drain. Raises `EndedBadly` when a worker did not end properly."""
        settings = self._settings
        self._soft.listeners.append(admin)
        signals.heed(self._stop, reload=self._reloader.soon, drain=self._begin_drain)
        log_starting(settings, self._public.sock, admin.sock)
        ready = partial(log_ready, settings, self._public.sock, admin.sock)
        admin.open()
        operations = Operations(
            self._metrics,
            self._ready,
            lambda: self._settings.admin.ready_needs_store,
            self._reloader.reload,
            self._drain,
            self._roll,
            source_of(self._reloader, self._crew(), self._history, public=self._public.sock, admin=admin.sock),
        )
        runner = await serve_admin(admin.sock, operations)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stop_listening())
                serving = [
                    group.create_task(self._keep_alive(slot), name=f"worker {slot}") for slot in range(settings.workers)
                ]
                beside = [
                    group.create_task(self._reloader.watch(), name="configuration"),
                    group.create_task(_opened(self._children, ready), name="listening"),
                ]
                await asyncio.wait(serving)
                for task in beside:
                    task.cancel()
                await asyncio.gather(*self._leaving.values())
            self._ending.code = int(self._failed)
        finally:
            self._ending.doing = "ending the process"
            self._ending.within(GRACE)
            self._public.close()
            admin.hand_over()
            await runner.cleanup()
        if self._failed:
            raise EndedBadly

    # Leaving.

    def _stop(self) -> None:
        self._ending.within(self._soft.left + self._settings.drain.timeout + _ENDED_WITHIN + GRACE)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _stop_listening(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._soft.left)
        await self._public.stop()
        self._public.close()
        self._ending.doing = "letting the workers finish"
        self._leave.set()

    def _begin_drain(self) -> None:
        if self._soft.begin(self._settings.drain.delay):
            for child in self._children.values():
                self._have_drain(child)

    def _have_drain(self, child: Child) -> None:
        task = self._loop.create_task(child.drain())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _drain(self) -> float:
        self._begin_drain()
        await asyncio.gather(*self._telling)
        return self._settings.drain.delay

    # Keeping the workers alive.

    async def _keep_alive(self, slot: int) -> None:
        delay = _BACKOFF[0]
        while not self._stopping.is_set():
            born = time.monotonic()
            life = await self._live(slot)
            if self._stopping.is_set():
                # A worker that was still starting has no handler for SIGTERM yet.
                self._failed |= life.exit_code not in (None, 0, -signal.SIGTERM)
                return
            lasted = time.monotonic() - born
            delay = _BACKOFF[0] if lasted > _STABLE else min(2 * delay, _BACKOFF[1])
            self._tell(slot, life, delay)
            if self._crashes_all_the_time(lasted):
                self._give_up(life)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _live(self, slot: int) -> Life:
        """Start a worker, and wait until the one in this slot has ended."""
        try:
            child = await self._start(slot)
        except (OSError, MemoryError) as exc:
            return _no_process(exc)
        self._children[slot] = child
        while (life := await self._watch(slot, child)) is None:
            self._leaving[child] = self._loop.create_task(self._see_off(slot, child))
            child = self._children[slot]
        self._count_last(child)
        del self._children[slot]
        return life

    async def _start(self, slot: int) -> Child:
        """Start a worker. Raises `OSError` and `MemoryError`."""
        child = Child(self._settings, self._public, slot)
        await child.started()
        if self._soft.begun:
            self._have_drain(child)
        return child

    def _crashes_all_the_time(self, lasted: float) -> bool:
        now = time.monotonic()
        if lasted > _STABLE or any(now - child.born > _STABLE for child in self._children.values()):
            self._crashes = 0
        else:
            self._crashes += 1
        return self._crashes >= _MOST_CRASHES * self._settings.workers

    def _give_up(self, life: Life) -> None:
        why = life.fault or f"a worker ended with exit code {life.exit_code}"
        detail = f"no worker lived for {_STABLE:g} s, {self._crashes} times in a row; the sidecar ends"
        log.error("workers_keep_failing", extra={"cause": why, "detail": detail})
        self._failed = True
        self._stop()

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

    async def _watch(self, slot: int, child: Child) -> Life | None:
        """Wait for the child's end, or until another one has taken its place (`None`). A child that hangs is killed. When the
        supervisor stops, the child is told to stop."""
        leave, replaced = (self._loop.create_task(each.wait()) for each in (self._leave, child.replaced))
        hanging = self._loop.create_task(child.hanging(self._settings.workers_timeout))
        await asyncio.wait([child.ended, hanging, leave, replaced], return_when=asyncio.FIRST_COMPLETED)
        hung = hanging.done()
        for task in (hanging, leave, replaced):
            task.cancel()
        if child.ended.done():
            return Life(child.ended.result(), child.fault)
        if hung:
            return await self._kill(slot, child, ", is killed and will be replaced")
        if child.replaced.is_set():
            return None
        child.signal(signal.SIGTERM)
        return await self._end_of(slot, child)

    async def _end_of(self, slot: int, child: Child) -> Life:
        """Wait for the end of a child that was told to stop. One that hangs, or takes too long, is killed."""
        hanging = self._loop.create_task(child.hanging(self._settings.workers_timeout))
        within = self._settings.drain.timeout + _ENDED_WITHIN
        await asyncio.wait([child.ended, hanging], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        hung = hanging.done()
        hanging.cancel()
        if child.ended.done():
            return Life(child.ended.result(), child.fault)
        if hung:
            return await self._kill(slot, child, " and is killed")
        detail = f"it had not ended {within:g} s after it was told to"
        log.error("worker_killed", extra={"slot": slot, "worker": child.pid, "detail": detail})
        child.signal(signal.SIGKILL)
        return Life(await asyncio.shield(child.ended), child.fault)

    async def _kill(self, slot: int, child: Child, then: str) -> Life:
        """Kill a child that hangs. `then` says for the log what happens to it."""
        detail = f"it did not answer for {self._settings.workers_timeout:g} s{then}"
        log.error("worker_hung", extra={"slot": slot, "worker": child.pid, "detail": detail})
        child.signal(signal.SIGKILL)
        return Life(await asyncio.shield(child.ended), child.fault, hung=True)

    async def _see_off(self, slot: int, child: Child) -> None:
        """Let a worker finish that another one has replaced."""
        await child.leave()
        life = await self._end_of(slot, child)
        self._count_last(child)
        del self._leaving[child]
        self._failed |= life.exit_code not in (None, 0)

    # What the operator asks for.

    async def _roll(self) -> Sequence[str]:
        """Replace each worker by a new one. Raises `Impossible` when a new one does not start; the others go on."""
        if self._rolling.locked():
            raise Impossible("the workers are being rolled")
        done = []
        async with self._rolling:
            for slot in range(self._settings.workers):
                if self._stopping.is_set():
                    raise Impossible("the process is going away")
                done.append(await self._replace(slot))
        return done

    async def _replace(self, slot: int) -> str:
        old = self._children.get(slot)
        if old is None:
            return f"worker {slot} is being started anyway"
        try:
            new = await self._start(slot)
        except (OSError, MemoryError) as exc:
            raise Impossible(str(_no_process(exc).fault)) from None
        opened = await new.opened(_OPENED_WITHIN)
        if not opened or self._children.get(slot) is not old:
            new.signal(signal.SIGTERM)
            self._leaving[new] = self._loop.create_task(self._see_off(slot, new))
            raise Impossible(f"the new worker {slot} did not start: {new.fault or 'see the log'}; the old one stays")
        self._children[slot] = new
        old.replaced.set()
        log.info("worker_rolled", extra={"slot": slot, "before": old.pid, "worker": new.pid})
        return f"worker {slot}: {old.pid} was replaced by {new.pid}"

    async def _apply(self, settings: Settings) -> None:
        """Have all workers use other settings, or none. Raises `NotApplied`."""
        async with self._rolling:
            children, packed = list(self._children.values()), pack(settings)
            faults = await asyncio.gather(*(child.prepare(packed) for child in children))
            fault = next(filter(None, faults), None)
            if fault is not None:
                raise NotApplied(fault)
            self._settings = settings
            log.setLevel(settings.logging.level.upper())
            able = [child for child, fault in zip(children, faults, strict=True) if fault is not None]
            await asyncio.gather(*(child.use(settings) for child in able))
            # One that began meanwhile, or did not answer, has the settings before.
            late = [child for child in self._children.values() if child.settings is not settings]
            await asyncio.gather(*(child.follow(settings, packed) for child in late))

    def _all(self) -> Iterator[Child]:
        yield from self._children.values()
        yield from self._leaving

    async def _metrics(self) -> bytes:
        asked = list(self._all())
        answers = await asyncio.gather(*(child.snapshot() for child in asked))
        # A worker that has ended meanwhile is among the past ones, and would count twice.
        present = set(self._all())
        snapshots = [answer for child, answer in zip(asked, answers, strict=True) if answer and child in present]
        own, workers = Parent(lines_dropped(), self._replaced, self._process.readings()), self._settings.workers
        whole = deployment(self._reloader.configuration, workers=workers, draining=self._going, parent=own)
        return render([*snapshots, *self._past.snapshots(), whole])

    @property
    def _going(self) -> bool:
        """Whether the process is going away."""
        return self._stopping.is_set() or self._soft.begun

    async def _ready(self) -> Checks:
        answers = await asyncio.gather(*(child.ready() for child in self._children.values()))
        checks = _combined(answers, self._settings.workers, self._fault)
        if self._going:
            checks["draining"] = "the process is going away"
        return checks

    def _crew(self) -> Crew:
        return several(
            self._children.values, lambda: self._going, self._settings.workers, self._replaced, lambda: self._fault
        )

    def _count_last(self, child: Child) -> None:
        self._past.add(child.last_snapshot)
        self._history.ended(child.pid, last_tally(child))


async def _opened(children: Mapping[int, Child], tell: Callable[[], None]) -> None:
    """Tell the operator once the public port is open."""
    while not any(child.is_open for child in children.values()):  # noqa: ASYNC110  the workers come and go
        await asyncio.sleep(0.02)
    tell()


def _combined(answers: Iterable[Checks | None], workers: int, fault: str | None) -> dict[str, str | None]:
    """The checks of all workers: each with what is wrong in one of them. `fault` is why the last one could not start."""
    given = [answer for answer in answers if answer is not None]
    missing, why = workers - len(given), f": {fault}" if fault else ""
    checks: dict[str, str | None] = {}
    checks["workers"] = f"{missing} of {workers} do not answer{why}" if missing else None
    for answer in given:
        for name, wrong in answer.items():
            checks[name] = checks.get(name) or wrong
    return checks


def _no_process(exc: BaseException) -> Life:
    return Life(None, f"no process can be started: {getattr(exc, 'strerror', None) or 'out of memory'}")
