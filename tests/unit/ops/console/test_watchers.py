"""Those who watch see each change; nobody is looked at for nobody."""

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from sidecar.ops.console.watchers import MOST, Watchers
from tests.support.waiting import eventually


class Looking:
    """Counts the looks; each one shows its number. `defect` is raised instead."""

    def __init__(self) -> None:
        self.looks = 0
        self.defect: Exception | None = None
        self.failures: list[Exception] = []
        self.watchers = Watchers(self._look, self.failures.append, every=0.001)

    async def _look(self) -> Mapping[str, str]:
        self.looks += 1
        if self.defect is not None:
            raise self.defect
        return {"look": str(self.looks)}


async def test_while_nobody_watches_nobody_looks() -> None:
    looking = Looking()
    async with contextlib.aclosing(looking.watchers.states()) as states:
        assert await anext(states) == {"look": "1"}
        assert await anext(states) != {"look": "1"}
    before = looking.looks
    await asyncio.sleep(0.02)
    assert looking.looks == before
    assert repr(looking.watchers) == "<Watchers 0>"


async def test_a_later_watcher_gets_the_present_state_at_once() -> None:
    looking = Looking()
    looking.watchers._every = 100
    async with (
        contextlib.aclosing(looking.watchers.states()) as first,
        contextlib.aclosing(looking.watchers.states()) as second,
    ):
        assert await anext(first) == {"look": "1"}
        assert await asyncio.wait_for(anext(second), 5) == {"look": "1"}
    async with contextlib.aclosing(looking.watchers.states()) as third:
        assert await asyncio.wait_for(anext(third), 5) == {"look": "2"}, "not the state of long ago"


async def test_a_slow_watcher_gets_the_newest_state_and_not_each() -> None:
    looking = Looking()
    async with contextlib.aclosing(looking.watchers.states()) as states:
        await anext(states)
        await eventually(lambda: looking.looks > 20)
        assert int((await anext(states))["look"]) >= 20


async def test_a_defect_is_told_and_the_next_look_follows() -> None:
    looking = Looking()
    looking.defect = RuntimeError("x")
    async with contextlib.aclosing(looking.watchers.states()) as states:
        waiting = asyncio.ensure_future(anext(states))  # noqa: TID251  awaited below
        await eventually(lambda: len(looking.failures) > 1)
        looking.defect = None
        assert await waiting
    assert looking.failures[0].args == ("x",)


async def test_there_are_only_so_many() -> None:
    looking = Looking()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MOST):
            assert not looking.watchers.full
            await anext(await stack.enter_async_context(contextlib.aclosing(looking.watchers.states())))
        assert looking.watchers.full
    assert not looking.watchers.full


async def test_at_the_end_every_watcher_is_let_go() -> None:
    looking = Looking()
    async with contextlib.aclosing(looking.watchers.states()) as states:
        await anext(states)
        await looking.watchers.end()
        with pytest.raises(StopAsyncIteration):
            await anext(states)
    assert looking.watchers.full
