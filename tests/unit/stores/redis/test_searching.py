"""Several servers are asked at once."""

import asyncio

import pytest

from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.searching import ask_all


class Server:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ask(self) -> str:
        return await self.answer


async def asked(servers: list[Server], enough: int, patience: float = 60) -> tuple[list[str], list[StoreUnavailable]]:
    return await asyncio.wait_for(
        ask_all([each.ask() for each in servers], lambda answers: len(answers) >= enough, patience), 10
    )


async def test_it_ends_when_there_are_enough_answers_and_the_rest_is_cancelled() -> None:
    servers = [Server(), Server(), Server()]
    servers[0].answer.set_exception(StoreUnavailable("down"))
    servers[2].answer.set_result("c")
    answers, faults = await asked(servers, 1)
    assert (answers, [str(each) for each in faults][:1]) == (["c"], ["down"])
    assert servers[1].answer.cancelled()


async def test_it_ends_when_all_are_done() -> None:
    servers = [Server(), Server()]
    for each in servers:
        each.answer.set_exception(StoreUnavailable("down"))
    answers, faults = await asked(servers, 1)
    assert (answers, len(faults)) == ([], 2)


async def test_with_any_answer_it_waits_no_longer_than_its_patience() -> None:
    servers = [Server(), Server()]
    servers[0].answer.set_result("a")
    assert await asked(servers, 2, patience=0.01) == (["a"], [])


async def test_a_defect_is_not_taken_for_a_fault_and_leaves_nothing_running() -> None:
    servers = [Server(), Server()]
    servers[0].answer.set_exception(LookupError("a defect"))
    with pytest.raises(LookupError):
        await asked(servers, 2)
    assert servers[1].answer.cancelled()


async def test_a_cancellation_ends_all() -> None:
    servers = [Server(), Server()]
    task = asyncio.get_running_loop().create_task(asked(servers, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert all(each.answer.cancelled() for each in servers)
