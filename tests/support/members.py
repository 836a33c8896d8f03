"""Processes of a fleet that share a store, as far as the store concerns them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from sidecar.core.events import Event, StoreChanged, StoreNoted
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.stores import open_store
from tests.support.waiting import eventually

STALENESS = 0.8
FUTURE = int(time.time()) + 1000


class Follower:
    """A store, the view that it feeds, and what it said: `events`."""

    def __init__(self, store: Store, staleness: float, events: list[Event]) -> None:
        self.events = events
        self.view = RevocationView(staleness)
        self.store = store
        self.task = asyncio.get_running_loop().create_task(store.follow(self.view))

    @property
    def usable(self) -> bool:
        return self.view.usable(time.monotonic())

    @property
    def said(self) -> list[bool]:
        """Whether the store was up, each time that this changed."""
        return [event.up for event in self.events if isinstance(event, StoreChanged)]

    def knows(self, *names: str) -> bool:
        return all(name in self.view for name in names)

    async def close(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.store.close()


class Member(Follower):
    """One process: the store at an address, and the view that it feeds."""

    def __init__(self, url: str, **options: Any) -> None:
        events: list[Event] = []
        given = {"prefix": "{test}", "timeout": 0.5, "max_staleness": STALENESS, **options}
        store = open_store(url, clock=time.time, monotonic=time.monotonic, emit=events.append, **given)
        super().__init__(store, options.get("max_staleness", STALENESS), events)

    @property
    def faults(self) -> list[str]:
        """The details of all that was said about a store that is down."""
        return [
            event.detail
            for event in self.events
            if (isinstance(event, StoreChanged) and not event.up)
            or (isinstance(event, StoreNoted) and event.name == "store_down")
        ]

    def noted(self, name: str) -> list[str]:
        """The details of the notes with this name."""
        return [event.detail for event in self.events if isinstance(event, StoreNoted) and event.name == name]


@contextlib.asynccontextmanager
async def members(url: str, count: int = 2, **options: Any) -> AsyncIterator[list[Member]]:
    """Processes that are ready."""
    fleet = [Member(url, **options) for _ in range(count)]
    try:
        await eventually(lambda: all(each.usable for each in fleet))
        yield fleet
    finally:
        for each in fleet:
            await each.close()


async def until_done(work: Callable[[], Any], *, within: float = 10) -> Any:
    """Try again while the store is not available, as a client does."""
    deadline = time.monotonic() + within
    while True:
        try:
            return await work()
        except StoreUnavailable:
            assert time.monotonic() < deadline, "the store does not come back"
            await asyncio.sleep(0.05)
