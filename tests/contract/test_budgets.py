"""Budgets: what every store promises about `consume`."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.throttling import Budget, Consumed, Rate
from sidecar.stores import open_store
from tests.contract.conftest import address_of
from tests.support.redis import RedisServer, free_port

SLOW = Rate(3, 3600)


def opened(url: str) -> Store:
    return open_store(
        url, prefix="{test}", timeout=2, max_staleness=1, clock=time.time, monotonic=time.monotonic, emit=lambda _: None
    )


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made = opened(address_of(request, request.param))
    yield made
    await made.close()


async def test_a_budget_is_spent_and_says_when_there_is_more(store: Store) -> None:
    said = [(await store.consume([Budget("a", SLOW)]))[0] for _ in range(4)]
    assert [(spent.taken, spent.fresh) for spent in said] == [
        (True, True),
        (True, False),
        (True, False),
        (False, False),
    ]
    assert [spent.wait for spent in said[:2]] == [0, 0]
    assert all(1190 < spent.wait <= 1200 for spent in said[2:])


async def test_each_budget_is_its_own(store: Store) -> None:
    for _ in range(3):
        await store.consume([Budget("a", SLOW)])
    empty, other = await store.consume([Budget("a", SLOW), Budget("b", SLOW)])
    assert (empty.taken, empty.wait > 0) == (False, True)
    assert other == Consumed(taken=True, wait=0, fresh=True)
    assert await store.consume([]) == []


async def test_fifty_at_once_take_what_there_is(store: Store) -> None:
    said = await asyncio.gather(*(store.consume([Budget("a", Rate(7, 3600))]) for _ in range(50)))
    assert len([each for (each,) in said if each.taken]) == 7
    assert len([each for (each,) in said if each.fresh]) == 1


async def test_a_budget_refills(store: Store) -> None:
    fast = Rate(1, 0.2)
    (first,) = await store.consume([Budget("a", fast)])
    (spent,) = await store.consume([Budget("a", fast)])
    assert (first.taken, first.fresh, spent.taken) == (True, True, False)
    assert 0 < spent.wait <= first.wait < 0.201
    await asyncio.sleep(spent.wait + 0.01)
    assert (await store.consume([Budget("a", fast)]))[0].taken


async def test_it_is_one_round_trip_and_ends_by_itself(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    await store.consume([Budget("a", SLOW)])
    before = redis_server.calls()["evalsha"]
    await store.consume([Budget("a", SLOW), Budget("b", Rate(10, 5)), Budget("c", SLOW)])
    assert redis_server.calls()["evalsha"] == before + 1
    assert 2300 < redis_server.command("TTL", "{test}:a") <= 2400
    assert 0 <= redis_server.command("TTL", "{test}:b") <= 1
    await store.close()


async def test_a_store_that_is_down_says_so() -> None:
    store = opened(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        await store.consume([Budget("a", SLOW)])
    await store.close()
