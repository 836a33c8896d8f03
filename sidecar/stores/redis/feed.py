"""Keeping a local view as current as Redis, and knowing how current that is.

How continuity is shown. A *reader* waits for entries of the stream on a connection of its own. Several times per
`max_staleness` a *beat* on another connection asks the server for the newest entry; when none was made lately, it makes
one. Once the reader has come to that entry, the view held everything that the server held when the beat was sent, and
is confirmed for that moment. So a connection that only looks alive is found out, however it died.

How it is regained. The beat also says whether the entry that was read last is still in the stream, and each entry names the
one before it. What was read last is gone, or not the one before what comes next, when it was trimmed away, or when the server
lost data (a restart, a failover): then everything is loaded again, while the reader already follows from an entry that was
noted before.

How what a server lost comes back. Each process remembers what it knows, and gives it back:

- What this process wrote itself, and has not read in the stream by the next beat, is looked for and written again: whoever took
  it was perhaps no longer the server that the others read from.
- After a loss that the server noticed (`stores.redis.scripts`: fewer entries, no state, another server), and after
  what was read last
  had gone, what this process wrote or read lately is looked for at once, since perhaps nobody else knows it. Then everything,
  in slices, by one process at a time.
- The loss is over when a process that remembers everything has given that back, and every process had the time to notice and
  give back what it knows lately. While it is open, a process that remembers nothing yet does not believe the server, unless
  nobody has given anything back for so long that there can be nobody.
- For that time, too, a process takes nothing for confirmed after it noticed a loss or another server.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final

from sidecar.core.events import EventHandler, StoreChanged, StoreNoted
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.stores.redis.source import Entries, Heartbeat, Revocations, Source

_FIRST_PAUSE: Final = 0.05
_SLICE: Final = 1000  # entries that are forgotten without a pause
_SWEPT: Final = 500  # entries that are looked for at a time
_MOST_RECENT: Final = 50_000
_FOR_GOOD: Final = 2**53
_SKEW: Final = 2.0  # seconds by which clocks may differ before the operator is told
_NOTICED: Final = 2.25  # times the interval, until every process that reaches the server has noticed a loss
_LATELY: Final = 10  # times the interval
_TURN: Final = 3  # times the interval, for which a turn is kept by one who may have died
_MOST_PAUSE: Final = 30.0  # seconds between two tries to give back
_TOLD_EVERY: Final = 60.0  # seconds between two words about entries that cannot be read
_STABLE: Final = 2  # times the interval, after which a session was a good one


class Discontinuous(Exception):
    """The entry read last is gone: nobody knows what came after it."""


class RevocationFeed:
    """Feeds one view. `interval` (seconds) is that of the beat; `jitter` gives a random part of 1."""

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
        self._clock = clock
        self._monotonic = monotonic
        self._emit = emit
        self._jitter = jitter
        self._position = b""  # the entry read last
        self._loaded = False  # all that was there before it is in the view
        self._advanced = asyncio.Event()
        self._up: bool | None = None
        self._detail = ""  # what was said last of the store
        self._server = ""
        self._writable = True
        self._remembers = False  # the view was complete once
        self._believed_from = -float("inf")  # monotonic
        self._due = asyncio.Event()  # something may have to be given back
        self._loss = ""  # the one that is open, as far as we know
        self._given_for = ""  # the one after which we gave back everything
        self._owed = False  # a process that did not remember everything has given back what it knew
        self._ours: dict[
            str, tuple[int, float]
        ] = {}  # what we wrote and have not read: its end, and when it was written
        self._written: deque[tuple[float, str, int]] = deque(maxlen=_MOST_RECENT)  # lately, by us
        self._heard: deque[tuple[float, str, int]] = deque(maxlen=_MOST_RECENT)  # lately, in the stream
        self._skewed = False
        self.skew = 0.0
        self._unreadable_told = 0
        self._told_at = -float("inf")  # monotonic
        self.unreadable = 0  # entries that named no token, or no time

    def __repr__(self) -> str:
        state = {None: "not connected", True: "up", False: "down"}[self._up]
        return f"<RevocationFeed {state} at {self._position.decode() or 'the beginning'}>"

    def wrote(self, revocations: Revocations) -> None:
        """This process has written these, just now; they should come back in the stream."""
        self._expect(revocations)
        _note(self._written, revocations, self._monotonic(), _LATELY * self._interval)

    def _expect(self, revocations: Revocations) -> None:
        now = self._monotonic()
        self._ours.update((entry, (until, now)) for entry, until in revocations)

    async def follow(self, view: RevocationView) -> None:
        """Keep the view current until cancelled, through every fault of the server."""
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
                if not self._server:  # it does not say which it is: it may be another one now
                    self._distrust()
            lasted = self._monotonic() - begun
            failures = 0 if lasted > _STABLE * self._interval else min(failures + 1, 10)
            pause = min(self._interval, _FIRST_PAUSE * 2**failures)
            await asyncio.sleep(pause * (0.5 + 0.5 * self._jitter()))

    async def _session(self, view: RevocationView) -> None:
        """From a load, if one is needed, to the first fault, which is raised."""
        await self._source.connect()
        if not self._loaded:
            beat = await self._source.heartbeat(b"")
            self._position = beat.newest
            self._notice(beat)
        await _first_fault(self._read(view), self._confirm_continuity(view), self._give_back(view))

    # Reading.

    async def _load(self, view: RevocationView) -> None:
        """Load all. What is revoked meanwhile comes after the entry that was noted before, and is read at the same time."""
        noted = self._position
        async for revocations in self._source.all_revocations():
            view.add(revocations)
        async for entries in self._source.history(noted):  # a set that was lost alone
            view.add(self._revocations(entries))

    async def _read(self, view: RevocationView) -> None:
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
        """Raises `Discontinuous` when one does not come after the one before: the server may have lost what was between, and
        go on as if nothing had been."""
        for entry, fields in entries:
            if fields.get(b"after") != self._position:
                raise Discontinuous
            self._position = entry

    def _revocations(self, entries: Entries) -> Revocations:
        """Heartbeats left out. An end that cannot be read is taken for never: to refuse more is the safe side."""
        found: Revocations = []
        for _, fields in entries:
            if b"jti" in fields:
                found.append((name_of(fields[b"jti"]), self.end_of(fields.get(b"until", b""))))
            elif b"beat" not in fields:
                self.unreadable += 1
        return found

    def end_of(self, until: bytes | float) -> int:
        """The second of an entry's end; never, when that cannot be read."""
        readable = 0 <= until < _FOR_GOOD if isinstance(until, float) else until.isdigit() and len(until) < 17
        self.unreadable += not readable
        return min(int(until), _FOR_GOOD) if readable else _FOR_GOOD

    # Showing continuity.

    async def _confirm_continuity(self, view: RevocationView) -> None:
        if not self._loaded:
            await self._load(view)
            self._loaded = True
        while True:
            sent_at = self._monotonic()
            beat = await self._source.heartbeat(self._position)
            if not beat.present:
                raise Discontinuous
            await self._await_entry(beat.newest)
            self._notice(beat)
            await self._look_for_ours(sent_at)
            waits = not self._remembers and beat.loss and beat.quiet < _NOTICED * self._interval
            if sent_at >= self._believed_from and not waits:
                self._believe(view, sent_at - beat.age, beat)
            while not view.purge(self._clock(), _SLICE):  # noqa: ASYNC110  it works, and does not wait
                await asyncio.sleep(0)  # others have their turn
            await asyncio.sleep(self._until_next())

    def _until_next(self) -> float:
        """Seconds until the next beat: as soon as one can be believed, if none can be for now."""
        left = self._believed_from - self._monotonic()
        return min(self._interval, left) if left > 0 else self._interval

    def _believe(self, view: RevocationView, moment: float, beat: Heartbeat) -> None:
        view.confirm(moment)
        if not self._remembers:
            if beat.loss and beat.counted:
                text = "the store lost revocations, and no process was there to remember them"
                self._emit(StoreNoted("revocations_lost", text))
            self._remembers = True
            if beat.loss or self._owed:
                self._due.set()
        self._say(up=True, detail="the revocation feed is continuous")

    async def _await_entry(self, entry: bytes) -> None:
        """Wait until the reader has come to `entry`. Raises `StoreUnavailable` when it does not in two intervals."""
        try:
            async with asyncio.timeout(2 * self._interval):
                while _order(self._position) < _order(entry):
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            raise StoreUnavailable("the stream of revocations stands still") from None

    def _notice(self, beat: Heartbeat) -> None:
        if beat.server and self._server and beat.server != self._server:
            self._distrust()
        self._server = beat.server or self._server
        if beat.loss and beat.loss not in (self._loss, self._given_for):
            self._distrust()
        self._loss = beat.loss
        self._writable = beat.writable
        self.skew = beat.skew
        if (abs(beat.skew) > _SKEW) is not self._skewed:
            self._skewed = not self._skewed
            self._emit(StoreNoted("clock_differs", f"the store's clock is ahead of ours by {beat.skew:.1f} s"))
        self._tell_unreadable()

    def _tell_unreadable(self) -> None:
        now = self._monotonic()
        if self.unreadable > self._unreadable_told and now - self._told_at > _TOLD_EVERY:
            self._unreadable_told, self._told_at = self.unreadable, now
            self._emit(StoreNoted("store_entries_unreadable", f"{self.unreadable} so far; what they name is refused"))

    def _distrust(self) -> None:
        """This server may have less than the one before, and others may have noticed later."""
        self._believed_from = self._monotonic() + _NOTICED * self._interval
        self._due.set()

    # Giving back.

    async def _look_for_ours(self, sent_at: float) -> None:
        """What we had written before the beat was sent, and did not come: write it again where it is not."""
        if not self._writable:
            return
        late = [(entry, until) for entry, (until, written) in self._ours.items() if written < sent_at]
        await self._give(late)
        for entry, _ in late:
            self._ours.pop(entry, None)

    async def _give(self, revocations: Revocations) -> None:
        """Write what the server does not have; it should come back in the stream then."""
        for start in range(0, len(revocations), _SWEPT):
            missing = await self._source.missing(revocations[start : start + _SWEPT])
            if missing:
                await self._source.sign()
                await self._source.remember(missing)
                self._expect(missing)

    async def _give_back(self, view: RevocationView) -> None:
        """Whenever it is due: at once what became known lately, then everything, when it is our turn. Its faults end no
        session: the beat finds out a server that is gone."""
        pause = self._interval
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._give_all(view)
                pause = self._interval
            except StoreUnavailable:
                self._due.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE)
            except BaseException:
                self._due.set()  # the next session does it
                raise

    async def _give_all(self, view: RevocationView) -> None:
        loss = self._loss
        await self._give(
            [(entry, until) for lately in (self._written, self._heard) for _, entry, until in list(lately)]
        )
        if not self._remembers:
            self._owed = True
            return
        while not await self._source.take_turn(_TURN * self._interval):  # noqa: ASYNC110  the others are elsewhere
            await asyncio.sleep(self._interval * (0.5 + self._jitter()) / 2)
        await self._sweep(view)
        self._given_for, self._owed = loss, False
        await self._source.end_turn()
        while loss and await self._source.make_whole(loss, _NOTICED * self._interval) is None:  # noqa: ASYNC110  see above
            await asyncio.sleep(self._interval / 2)

    async def _sweep(self, view: RevocationView) -> None:
        now, until = self._clock(), self._monotonic()
        # What the store has of a not-before time besides its entry may be lost alone: it is written in any case.
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
    """Keep them, and no others that are older than so many seconds."""
    lately.extend((now, entry, until) for entry, until in revocations)
    while lately and now - lately[0][0] > seconds:
        lately.popleft()


async def _first_fault(*work: Coroutine[Any, Any, None]) -> None:
    """Run all of it until one fails, and raise that; `Discontinuous` before others. Not a `TaskGroup`, which before Python 3.13
    could lose a cancellation that came in the moment in which a task failed."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
    faults = [fault for task in tasks if not task.cancelled() and (fault := task.exception()) is not None]
    raise next((fault for fault in faults if isinstance(fault, Discontinuous)), faults[0])


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel them and wait for their ends. A cancellation that comes meanwhile is raised after that, and never lost."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=1)  # the client library may lose a cancellation: it is sent again
        except asyncio.CancelledError as exc:
            cancelled = exc
    for task in tasks:
        if not task.cancelled():
            task.exception()  # it is known to have been looked at, whoever asks for it
    if cancelled is not None:
        raise cancelled


def name_of(entry: bytes) -> str:
    """The entry as a text, whatever its bytes are: what is no UTF-8 is kept as it is (PEP 383)."""
    return entry.decode("utf-8", "surrogateescape")


def _order(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)
