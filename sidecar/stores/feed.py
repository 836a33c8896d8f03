"""Keeping a local view as current as Redis, and knowing how current that is.

How continuity is shown. A *reader* waits for entries of the stream on a connection of its own. About five times per
`max_staleness` a *beat* on another connection asks the server for the newest entry; when none was made lately, it makes
one. Once the reader has come to that entry, the view held everything that the server held when the beat was sent, and
is confirmed for that moment. So a connection that only looks alive is found out, however it died.

How it is regained. The beat also says whether the entry that was read last is still in the stream, and each entry names the
one before it. What was read last is gone, or not the one before what comes next, when it was trimmed away, or when the server
lost data (a restart, a failover): then everything is loaded again, from a newest entry that was noted before, and what this
worker remembers and the server no longer does is given back to it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Final, Protocol

from sidecar.core.events import Listener, StoreChanged
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import RevocationView

_FIRST_PAUSE: Final = 0.05
_PURGE_EVERY: Final = 60.0
_FOR_GOOD: Final = 2**53

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Beat(Protocol):
    """See `redis.Beat`."""

    @property
    def present(self) -> bool: ...
    @property
    def newest(self) -> bytes: ...


class Source(Protocol):
    """What the feed needs of Redis; all of it raises `StoreUnavailable`. See `redis.RedisStore`."""

    async def beat(self, last_read: bytes) -> Beat: ...
    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None: ...
    def everything(self) -> AsyncIterator[list[tuple[str, int]]]: ...
    def entries(self, last_read: bytes) -> AsyncGenerator[Entries, None]: ...


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
        emit: Listener,
        jitter: Callable[[], float],
    ) -> None:
        self._source = source
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic
        self._emit = emit
        self._jitter = jitter
        self._position = b""  # the entry read last; empty: everything must be loaded
        self._advanced = asyncio.Event()
        self._up: bool | None = None
        self._purged_at = monotonic()

    def __repr__(self) -> str:
        state = {None: "not connected", True: "up", False: "down"}[self._up]
        return f"<RevocationFeed {state} at {self._position.decode() or 'the beginning'}>"

    async def follow(self, view: RevocationView) -> None:
        """Keep the view current until cancelled, through every fault of the server."""
        failures = 0
        while True:
            try:
                await self._session(view)
            except* Discontinuous:
                self._position = b""
            except* StoreUnavailable as group:
                self._say(up=False, detail=str(group.exceptions[0]))
            # A session that had shown continuity begins the pauses anew.
            failures = 0 if view.staleness(self._monotonic()) < 2 * self._interval else min(failures + 1, 10)
            pause = min(self._interval, _FIRST_PAUSE * 2**failures)
            await asyncio.sleep(pause * (0.5 + 0.5 * self._jitter()))

    async def _session(self, view: RevocationView) -> None:
        """From a load, if one is needed, to the first fault."""
        async with asyncio.TaskGroup() as group:
            if not self._position:
                await self._load(view)
            group.create_task(self._read(view))
            group.create_task(self._prove(view))

    async def _load(self, view: RevocationView) -> None:
        """Load all, then give back what the server lost. What is revoked meanwhile comes after the noted entry."""
        noted = (await self._source.beat(b"")).newest
        loaded: set[str] = set()
        async for revocations in self._source.everything():
            view.add(revocations)
            loaded.update(jti for jti, _ in revocations)
        lost = [(jti, until) for jti, until in view.live(self._clock()).items() if jti not in loaded]
        await self._source.remember(lost)
        self._position = noted

    async def _read(self, view: RevocationView) -> None:
        async with aclosing(self._source.entries(self._position)) as stream:
            async for entries in stream:
                view.add(_revocations(entries))
                self._follow(entries)
                self._advanced.set()

    def _follow(self, entries: Entries) -> None:
        """Raises `Discontinuous` when one does not come after the one before: the server may have lost what was between, and
        go on as if nothing had been."""
        for entry, fields in entries:
            if fields.get(b"after") != self._position:
                raise Discontinuous
            self._position = entry

    async def _prove(self, view: RevocationView) -> None:
        while True:
            asked = self._monotonic()
            beat = await self._source.beat(self._position)
            if not beat.present:
                raise Discontinuous
            await self._reach(beat.newest)
            view.confirm(asked)
            self._say(up=True, detail="the revocation feed is continuous")
            if asked - self._purged_at > _PURGE_EVERY:
                self._purged_at = asked
                view.purge(self._clock())
            await asyncio.sleep(self._interval)

    async def _reach(self, entry: bytes) -> None:
        """Wait until the reader has come to `entry`. Raises `StoreUnavailable` when it does not in two intervals."""
        try:
            async with asyncio.timeout(2 * self._interval):
                while _order(self._position) < _order(entry):
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            raise StoreUnavailable("the stream of revocations stands still") from None

    def _say(self, *, up: bool, detail: str) -> None:
        if up is not self._up:
            self._up = up
            self._emit(StoreChanged(up, detail))


def _order(entry: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)


def _revocations(entries: Entries) -> Iterable[tuple[str, int]]:
    """Heartbeats left out. An end that cannot be read is taken for never: to refuse more is the safe side."""
    for _, fields in entries:
        if b"jti" in fields:
            until = fields.get(b"until", b"")
            yield fields[b"jti"].decode("utf-8", "replace"), int(until) if until.isdigit() else _FOR_GOOD
