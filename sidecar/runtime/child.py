"""A worker process, as its parent sees it."""

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple

from sidecar.assembly.app import log_failure
from sidecar.config.settings import Settings
from sidecar.ops.console.facts import Tally, WorkerFacts, read_tally, read_worker
from sidecar.ops.snapshots import Snapshot, without_gauges
from sidecar.runtime import signals
from sidecar.runtime.control import Conversation, Kind
from sidecar.runtime.leaving import first_of
from sidecar.runtime.sockets import Listener
from sidecar.runtime.worker_process import work

log: Final = logging.getLogger("sidecar")

_ANSWER_DEADLINE: Final = 2.0
_STARTED_WITHIN: Final = 60.0  # seconds for a worker's first answer
_PREPARED_WITHIN: Final = 60.0  # seconds to build what other settings need
_ASKED_EVERY: Final = 1.0  # seconds, at most


class Life(NamedTuple):
    """How a worker ended: its exit code, if the process started at all, why the worker could not start, if known, and whether
    it was killed because it did not answer."""

    exit_code: int | None
    fault: str | None
    hung: bool = False


class Child:
    """A worker process, as its parent sees it. `settings` are those that it uses, `slot` is its number. Raises
    `OSError` and `MemoryError` when no process can be started."""

    def __init__(self, settings: Settings, public: Listener, slot: int) -> None:
        self.settings = settings
        self.born = time.monotonic()
        self.replaced = asyncio.Event()  # another worker has taken its place
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process: BaseProcess = context.Process(target=work, args=(settings, public, theirs, slot), daemon=False)
        try:
            with theirs, signals.withheld():
                self._process.start()
        except BaseException:
            ours.close()
            raise
        self._socket = ours
        self._conversation = Conversation(lambda garbled: log_failure("control", garbled))
        self._last_snapshot: Snapshot | None = None
        self._answered = False

    @property
    def fault(self) -> str | None:
        """Why the worker could not start, once it has said so."""
        return self._conversation.fault

    async def started(self) -> None:
        """Connect to the child's end of the pair. From then on there is `ended`, a task that waits for the end of the process
        and gives its exit code."""
        loop = asyncio.get_running_loop()
        self.ended = loop.create_task(self._wait_for_end())
        await loop.create_connection(lambda: self._conversation, sock=self._socket)

    @property
    def last_snapshot(self) -> Snapshot | None:
        """What the worker has counted, as far as it has said so."""
        return self._conversation.last_counts or self._last_snapshot

    @property
    def last_counts(self) -> Snapshot | None:
        """What the worker has counted, once it has said so at its end."""
        return self._conversation.last_counts

    async def opened(self, within: float) -> bool:
        """Wait until the worker accepts connections. Returns false when it does not, or ends, within so many seconds."""
        await first_of(self._conversation.open.wait(), self._conversation.over.wait(), within=within)
        return self._conversation.open.is_set()

    @property
    def is_open(self) -> bool:
        """Whether the worker has begun to accept connections."""
        return self._conversation.open.is_set()

    async def prepare(self, packed: str) -> str | None:
        """Have the worker build what these settings need (`worker_process.pack`). Returns why it cannot use them, empty when it
        can, and `None` when it does not answer."""
        fault: str | None = await self._conversation.ask(Kind.PREPARE, _PREPARED_WITHIN, packed)
        return fault

    async def use(self, settings: Settings) -> bool:
        """Have the worker use the settings that it has prepared. Returns whether it has done so."""
        self.settings = settings
        return bool(await self._conversation.ask(Kind.USE, _ANSWER_DEADLINE))

    async def follow(self, settings: Settings, packed: str) -> None:
        """Have the worker use settings that the others use already, or kill it, so that another one replaces it."""
        if await self.prepare(packed) != "" or not await self.use(settings):
            log.error("worker_not_reloaded", extra={"worker": self.pid, "detail": "it is replaced"})
            self.signal(signal.SIGKILL)

    async def drain(self) -> None:
        """Have the worker begin the soft drain."""
        await self._conversation.ask(Kind.DRAIN, _ANSWER_DEADLINE)

    async def leave(self) -> None:
        """Have the worker stop, because another one has taken its place."""
        await self._conversation.ask(Kind.LEAVE, _ANSWER_DEADLINE)

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    async def snapshot(self) -> Snapshot | None:
        """The worker's snapshot, which is kept as `last_snapshot`. When the worker does not answer in time, the counters of the
        last one: its gauges may have changed since."""
        snapshot: Snapshot | None = await self._conversation.ask(Kind.SNAPSHOT, _ANSWER_DEADLINE)
        if snapshot is not None:
            self._last_snapshot = snapshot
            return snapshot
        return without_gauges(self.last_snapshot) if self.last_snapshot else None

    async def tally(self) -> Tally | None:
        """What the worker has counted, for the console's history. `None` when it does not answer in time."""
        body = await self._conversation.ask(Kind.TALLY, _ANSWER_DEADLINE)
        return None if body is None else read_tally(body)

    async def facts(self) -> WorkerFacts | None:
        """What the console shows of the worker. `None` when it does not answer in time."""
        body = await self._conversation.ask(Kind.FACTS, _ANSWER_DEADLINE)
        return None if body is None else read_worker(body)

    async def hanging(self, within: float) -> None:
        """Return once the worker has not answered for `within` seconds. While it starts, it has more time."""
        while True:
            patience = within if self._answered else max(within, _STARTED_WITHIN)
            if await self._conversation.ask(Kind.ALIVE, patience):
                self._answered = True
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

    async def _wait_for_end(self) -> int | None:
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
