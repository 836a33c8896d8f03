"""runtime.leaving: the soft drain, and the first of several events."""

import asyncio
import time
from typing import Any

import pytest

from sidecar.runtime.leaving import SoftDrain, first_of


class Handed:
    """A listener that counts how often it was handed over."""

    def __init__(self) -> None:
        self.times = 0

    def hand_over(self) -> None:
        self.times += 1


def test_it_begins_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    listener: Any = Handed()
    soft = SoftDrain([listener])
    assert (soft.begun, soft.left, repr(soft)) == (False, 0, "<SoftDrain not begun>")
    assert soft.begin(5.0)
    assert not soft.begin(50.0)
    assert (soft.begun, soft.left, listener.times) == (True, 5, 1)
    now = 104.0
    assert (soft.left, repr(soft)) == (1, "<SoftDrain 1.0 s left>")
    now = 110.0
    assert (soft.begun, soft.left) == (True, 0)
    assert [vars(record)["delay"] for record in caplog.records] == [5.0]


async def test_the_first_of_several_ends_the_others() -> None:
    first, second, over = asyncio.Event(), asyncio.Event(), list[str]()

    async def wait(event: asyncio.Event, name: str) -> None:
        try:
            await event.wait()
        finally:
            over.append(name)

    task = asyncio.get_running_loop().create_task(first_of(wait(first, "first"), wait(second, "second")))
    await asyncio.sleep(0)
    assert not task.done()
    second.set()
    await asyncio.wait_for(task, 10)
    await asyncio.sleep(0)
    assert sorted(over) == ["first", "second"]


async def test_nor_does_it_wait_for_ever() -> None:
    await asyncio.wait_for(first_of(asyncio.Event().wait(), within=0.01), 10)
