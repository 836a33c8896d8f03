"""Keeps a local view as current as Redis, and knows how current it is.

How continuity is shown. A *reader* waits for stream entries on its own connection. Several times per `max_staleness`, a
*heartbeat* on another connection asks the server for the newest entry; if there is no recent entry, the heartbeat adds one.
Once the reader has reached that entry, the view held everything that the server held when the heartbeat was sent, and is
confirmed for that moment. This also detects a connection that only looks alive, whatever broke it.

How continuity is regained. The heartbeat also says whether the last entry that was read is still in the stream, and each
entry names its predecessor. If the last entry is gone, or is not the predecessor of the next one, the stream was trimmed, or
the server lost data (a restart, a failover). Then everything is loaded again, while the reader already follows from an entry
that was noted before.

How data that a server lost is restored. Each process remembers what it knows, and restores it:

- A revocation that this process wrote, and has not read in the stream by the next heartbeat, is looked up and written again:
  the server that accepted it may no longer be the one that the other processes read from.
- After a loss that the server noticed (`stores.redis.scripts`: fewer entries, no state, another server), and after the last
  entry that was read had gone, the process at once looks up what it wrote or read lately, since perhaps no other process
  knows it. Then everything is looked up, in slices, by one process at a time.
- The loss is over when a process that remembers everything has restored all of it, and every process had the time to notice
  the loss and to restore what it learned lately. While the loss is open, a process that remembers nothing yet does not trust
  the server, unless no process has restored anything for so long that there can be none.
- A process that noticed a loss or another server confirms nothing until every process had the time to notice it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final

from sidecar.core.events import EventHandler, StoreChanged, StoreNoted
from sidecar.core.past import MOST_AHEAD, SurelyPast
from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.source import Entries, Heartbeat, Revocations, Source, View

_FIRST_PAUSE: Final = 0.05
_SLICE: Final = 1000  # entries purged without a pause
_SWEPT: Final = 500  # entries looked up at a time
_MOST_RECENT: Final = 50_000
_FOR_GOOD: Final = 2**53
_SKEW: Final = 2.0  # seconds by which clocks may differ before the operator is told
_NOTICED: Final = 2.25  # times the interval, until every process that reaches the server has noticed a loss
_LATELY: Final = 10  # times the interval
_TURN: Final = 3  # times the interval, for which a turn lasts if its process dies
_MOST_PAUSE: Final = 30.0  # seconds between two attempts to restore
_TOLD_EVERY: Final = 60.0  # seconds between two reports about unreadable entries
_STABLE: Final = 2  # times the interval, after which a session counts as successful


class Discontinuous(Exception):
    """The last entry that was read is gone: what followed it is unknown."""


class RevocationFeed:
    """Feeds one view. `interval` (seconds) is the time between heartbeats; `jitter` gives a random number between 0 and 1."""

    def __init__(
        self,
        source: Source,
        *,
        interval: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        emit: EventHandler,
        jitter: Callable[[], float],
    ) -> None:
        self._source = source
        self._interval = interval
        self._monotonic = monotonic
        self._past = SurelyPast(clock, monotonic)
        self._emit = emit
        self._jitter = jitter
        self._position = b""  # the last entry that was read
        self._loaded = False  # the view has everything that was there before it
        self._advanced = asyncio.Event()
        self._up: bool | None = None
        self._detail = ""  # what was last reported about the store
        self._server = ""
        self._writable = True
        self._remembers = False  # the view has been complete at least once
        self._believed_from = -float("inf")  # monotonic seconds
        self._due = asyncio.Event()  # something may have to be restored
        self._loss = ""  # the open loss, as far as this process knows
        self._given_for = ""  # the loss after which this process restored everything
        self._owed = False  # this process has restored what it knew, before it remembered everything
        self._ours: dict[
            str, tuple[int, float]
        ] = {}  # written by this process and not read yet: its end, and when it was written
        self._written: deque[tuple[float, str, int]] = deque(maxlen=_MOST_RECENT)  # lately, by this process
        self._heard: deque[tuple[float, str, int]] = deque(maxlen=_MOST_RECENT)  # lately, in the stream
        self._skewed = False
        self.skew = 0.0
        self._unreadable_told = 0
        self._told_at = -float("inf")  # monotonic seconds
        self.unreadable = 0  # entries without a valid token or time

    def __repr__(self) -> str:
        state = {None: "not connected", True: "up", False: "down"}[self._up]
        return f"<RevocationFeed {state} at {self._position.decode() or 'the beginning'}>"

    @property
    def fault(self) -> str:
        """Why the store cannot be reached, or empty."""
        return "" if self._up else self._detail

    def wrote(self, revocations: Revocations) -> None:
        """This process has just written these revocations; they should appear in the stream."""
        self._expect(revocations)
        _note(self._written, revocations, self._monotonic(), _LATELY * self._interval)

    def _expect(self, revocations: Revocations) -> None:
        now = self._monotonic()
        self._ours.update((entry, (until, now)) for entry, until in revocations)

    async def follow(self, view: View) -> None:
        """Keep the view current until cancelled, despite any fault of the server."""
        failures = 0
        while True:
            begun = self._monotonic()
            try:
                await self._session(view)
            except Discontinuous:
                self._loaded = False
                self._distrust()
            except StoreUnavailable as exc:
                self._say(up=False, detail=str(exc))
                if not self._server:  # the server does not identify itself, so it may be another one now
                    self._distrust()
            lasted = self._monotonic() - begun
            failures = 0 if lasted > _STABLE * self._interval else min(failures + 1, 10)
            pause = min(self._interval, _FIRST_PAUSE * 2**failures)
            await asyncio.sleep(pause * (0.5 + 0.5 * self._jitter()))

    async def _session(self, view: View) -> None:
        """Load if necessary, then run until the first fault, which is raised."""
        await self._source.connect()
        if not self._loaded:
            heartbeat = await self._source.heartbeat(b"")
            self._position = heartbeat.newest
            self._notice(heartbeat)
        await first_fault(self._read(view), self._confirm_continuity(view), self._restore_when_due(view))

    # Reading.

    async def _load(self, view: View) -> None:
        """Load everything that has not ended. Revocations made meanwhile follow the entry that was noted before, and are read
        at the same time."""
        noted = self._position
        async with aclosing(self._source.all_revocations()) as pages:
            async for revocations in pages:
                now = self._forgettable()  # the server keeps entries for hours after their end
                view.add([each for each in revocations if each[1] > now])
        async for entries in self._source.history(noted):  # in case only the set was lost
            view.add(self._revocations(entries))

    async def _read(self, view: View) -> None:
        async with aclosing(self._source.entries(self._position)) as stream:
            async for entries in stream:
                revocations = self._revocations(entries)
                view.add(revocations)
                _note(self._heard, revocations, self._monotonic(), _LATELY * self._interval)
                for entry, _ in revocations:
                    self._ours.pop(entry, None)
                self._follow(entries)
                self._advanced.set()

    def _follow(self, entries: Entries) -> None:
        """Raises `Discontinuous` when an entry does not follow the previous one: the server may have lost the entries between
        them and continued as if nothing had happened."""
        for entry, fields in entries:
            if fields.get(b"after") != self._position:
                raise Discontinuous
            self._position = entry

    def _revocations(self, entries: Entries) -> Revocations:
        """The revocations among the entries, without heartbeats. An unreadable end counts as never: refusing more is safer."""
        found: Revocations = []
        for _, fields in entries:
            if b"jti" in fields:
                found.append((name_of(fields[b"jti"]), self.end_of(fields.get(b"until", b""))))
            elif b"beat" not in fields:
                self.unreadable += 1
        return found

    def end_of(self, until: bytes | float) -> int:
        """The second in which an entry ends; if it cannot be read, the entry never ends."""
        readable = 0 <= until < _FOR_GOOD if isinstance(until, float) else until.isdigit() and len(until) < 17
        self.unreadable += not readable
        return min(int(until), _FOR_GOOD) if readable else _FOR_GOOD

    # Showing continuity.

    async def _confirm_continuity(self, view: View) -> None:
        if not self._loaded:
            await self._load(view)
            self._loaded = True
        while True:
            sent_at = self._monotonic()
            heartbeat = await self._source.heartbeat(self._position)
            if not heartbeat.present:
                raise Discontinuous
            await self._await_entry(heartbeat.newest)
            self._notice(heartbeat)
            await self._look_for_ours(sent_at)
            waits = not self._remembers and heartbeat.loss and heartbeat.quiet < _NOTICED * self._interval
            if sent_at >= self._believed_from and not waits:
                self._believe(view, sent_at - heartbeat.age, heartbeat)
            while not view.purge(self._forgettable(), _SLICE):  # noqa: ASYNC110  it works instead of waiting
                await asyncio.sleep(0)  # other tasks get their turn
            await asyncio.sleep(self._until_next())

    def _forgettable(self) -> float:
        """Before which time (epoch seconds) an entry must have ended to be forgotten. The server's clock counts too, in case
        this process has started with a clock that is ahead."""
        return self._past() + max(-MOST_AHEAD, min(0.0, self.skew))

    def _until_next(self) -> float:
        """Seconds until the next heartbeat; while none can be trusted, until the moment when one can, but at most one
        interval."""
        left = self._believed_from - self._monotonic()
        return min(self._interval, left) if left > 0 else self._interval

    def _believe(self, view: View, moment: float, heartbeat: Heartbeat) -> None:
        view.confirm(moment)
        if not self._remembers:
            if heartbeat.loss and heartbeat.counted:
                text = "the store lost revocations, and no process was there to remember them"
                self._emit(StoreNoted("revocations_lost", text))
            self._remembers = True
            if heartbeat.loss or self._owed:
                self._due.set()
        self._say(up=True, detail="the revocation feed is continuous")

    async def _await_entry(self, entry: bytes) -> None:
        """Wait until the reader has reached `entry`. Raises `StoreUnavailable` when it does not within two intervals."""
        try:
            async with asyncio.timeout(2 * self._interval):
                while _order(self._position) < _order(entry):
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            raise StoreUnavailable("the stream of revocations stands still") from None

    def _notice(self, heartbeat: Heartbeat) -> None:
        if heartbeat.server and self._server and heartbeat.server != self._server:
            self._distrust()
        self._server = heartbeat.server or self._server
        if heartbeat.loss and heartbeat.loss not in (self._loss, self._given_for):
            self._distrust()
        self._loss = heartbeat.loss
        self._writable = heartbeat.writable
        self.skew = heartbeat.skew
        if (abs(heartbeat.skew) > _SKEW) is not self._skewed:
            self._skewed = not self._skewed
            self._emit(StoreNoted("clock_differs", _skew_text(heartbeat.skew)))
        self._tell_unreadable()

    def _tell_unreadable(self) -> None:
        now = self._monotonic()
        if self.unreadable > self._unreadable_told and now - self._told_at > _TOLD_EVERY:
            self._unreadable_told, self._told_at = self.unreadable, now
            self._emit(StoreNoted("store_entries_unreadable", f"{self.unreadable} so far; what they name is refused"))

    def _distrust(self) -> None:
        """This server may have less than the previous one, and other processes may notice later."""
        self._believed_from = self._monotonic() + _NOTICED * self._interval
        self._due.set()

    # Restoring.

    async def _look_for_ours(self, sent_at: float) -> None:
        """Write again what this process wrote before the heartbeat was sent and has not read in the stream, if the server
        lacks it."""
        if not self._writable:
            return
        late = [(entry, until) for entry, (until, written) in self._ours.items() if written < sent_at]
        await self._give(late)
        for entry, _ in late:
            self._ours.pop(entry, None)

    async def _give(self, revocations: Revocations) -> None:
        """Write what the server lacks; it should then appear in the stream."""
        for start in range(0, len(revocations), _SWEPT):
            missing = await self._source.missing(revocations[start : start + _SWEPT])
            if missing:
                await self._source.sign()
                await self._source.remember(missing)
                self._expect(missing)

    async def _restore_when_due(self, view: View) -> None:
        """Restore whenever it is due: at once what became known lately, then everything, when it is this process's turn. A
        fault of this does not end the session: the heartbeat detects a server that is gone."""
        pause = self._interval
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._restore(view)
                pause = self._interval
            except StoreUnavailable:
                self._due.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE)
            except BaseException:
                self._due.set()  # the next session does it
                raise

    async def _restore(self, view: View) -> None:
        loss = self._loss
        await self._give(
            [(entry, until) for lately in (self._written, self._heard) for _, entry, until in list(lately)]
        )
        if not self._remembers:
            self._owed = True
            return
        while not await self._source.take_turn(_TURN * self._interval):  # noqa: ASYNC110  the other processes are elsewhere
            await asyncio.sleep(self._interval * (0.5 + self._jitter()) / 2)
        await self._sweep(view)
        self._given_for, self._owed = loss, False
        await self._source.end_turn()
        while loss and await self._source.make_whole(loss, _NOTICED * self._interval) is None:  # noqa: ASYNC110  see above
            await asyncio.sleep(self._interval / 2)

    async def _sweep(self, view: View) -> None:
        now, until = self._forgettable(), self._monotonic()
        # The store may lose its hash of not-before times without losing their entries in the set, so they are written in any
        # case.
        await self._source.remember([(entry, end) for entry, end in view.not_before.items() if end > now])
        for revocations in view.slices(now, _SWEPT):
            await self._give(revocations)
            if self._monotonic() > until:
                until = self._monotonic() + self._interval
                await self._source.take_turn(_TURN * self._interval)

    def _say(self, *, up: bool, detail: str) -> None:
        if up is not self._up:
            self._emit(StoreChanged(up, detail))
        elif not up and detail != self._detail:
            self._emit(StoreNoted("store_down", detail))
        self._up, self._detail = up, detail


def _note(lately: deque[tuple[float, str, int]], revocations: Revocations, now: float, seconds: float) -> None:
    """Add `revocations`, and remove those that are older than `seconds`."""
    lately.extend((now, entry, until) for entry, until in revocations)
    while lately and now - lately[0][0] > seconds:
        lately.popleft()


def _skew_text(skew: float) -> str:
    return f"the store's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the sidecar's"


async def first_fault(*work: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines until one fails, and raise its exception; `Discontinuous` takes precedence. Not a `TaskGroup`, which
    before Python 3.13 could lose a cancellation that arrived at the moment when a task failed."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(tasks)
    faults = [fault for task in tasks if not task.cancelled() and (fault := task.exception()) is not None]
    raise next((fault for fault in faults if isinstance(fault, Discontinuous)), faults[0])


async def end_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for their ends. A cancellation that arrives meanwhile is raised afterwards, and never lost."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=1)  # the client library may lose a cancellation, so it is sent again
        except asyncio.CancelledError as exc:
            cancelled = exc
    for task in tasks:
        if not task.cancelled():
            task.exception()  # marks the exception as retrieved
    if cancelled is not None:
        raise cancelled


def name_of(entry: bytes) -> str:
    """The entry as text, whatever its bytes are: bytes that are not UTF-8 are preserved (PEP 383)."""
    return entry.decode("utf-8", "surrogateescape")


def _order(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)
