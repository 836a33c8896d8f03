"""Values that end by themselves: what every store promises about `add`, `put`, `get`, `pop` and `delete`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.core.throttling import Budget, Rate
from sidecar.stores import open_store
from sidecar.stores.memory import MemoryStore
from tests.contract.conftest import address_of
from tests.support.redis import RedisServer, free_port
from tests.support.waiting import eventually

STRANGE = ["", "x" * 10_000, 'line\nfeed"\\', "ä€😀", "\0"]


def opened(url: str) -> Store:
    return open_store(
        url, prefix="{test}", timeout=2, max_staleness=1, clock=time.time, monotonic=time.monotonic, emit=lambda _: None
    )


@pytest.fixture(params=["memory", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made = opened(address_of(request, request.param))
    yield made
    await made.close()


async def gone(store: Store, key: str) -> None:
    """Wait for the end of a value."""
    async with asyncio.timeout(5):
        while await store.get(key) is not None:  # noqa: ASYNC110  a store tells nobody of an end
            await asyncio.sleep(0.02)


async def test_a_value_is_kept_until_it_is_taken(store: Store) -> None:
    assert await store.get("code:a") is None
    await store.put("code:a", "first", 60)
    await store.put("code:a", "second", 60)
    assert await store.get("code:a") == "second"
    assert await store.pop("code:a") == "second"
    assert (await store.pop("code:a"), await store.get("code:a")) == (None, None)


async def test_a_value_is_one_callers(store: Store) -> None:
    await store.put("code:a", "value", 60)
    taken = await asyncio.gather(*(store.pop("code:a") for _ in range(50)))
    assert sorted(taken, key=str) == [None] * 49 + ["value"]


async def test_once_is_true_once(store: Store) -> None:
    said = await asyncio.gather(*(store.add("jti:c:a", 60) for _ in range(50)))
    assert sorted(said) == [False] * 49 + [True]
    assert await store.add("jti:c:b", 60)


async def test_what_has_ended_is_gone(store: Store) -> None:
    await store.put("session:a", "value", 1)
    assert await store.add("jti:a", 1)
    assert await store.get("session:a") == "value"
    await gone(store, "session:a")
    assert await store.pop("session:a") is None
    await gone(store, "jti:a")
    assert await store.add("jti:a", 1)


async def test_putting_again_gives_a_new_end(store: Store) -> None:
    await store.put("session:a", "value", 1)
    await store.put("session:b", "value", 1)
    await store.put("session:a", "value", 60)
    await gone(store, "session:b")
    assert await store.get("session:a") == "value"


async def test_what_is_deleted_is_gone(store: Store) -> None:
    await store.put("session:a", "value", 60)
    for _ in range(2):
        await store.delete("session:a")
        assert await store.get("session:a") is None


@pytest.mark.parametrize("value", STRANGE)
async def test_a_value_is_any_text(store: Store, value: str) -> None:
    await store.put("consent:a b:ä", value, 60)
    assert await store.get("consent:a b:ä") == value


async def test_each_is_one_command(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    await store.ping()
    before = redis_server.calls()
    await store.add("a:1", 60)
    await store.put("a:2", "x", 60)
    await store.get("a:2")
    await store.pop("a:2")
    await store.delete("a:2")
    after = redis_server.calls()
    spent = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    spent = {name: count for name, count in spent.items() if not name.startswith(("client|", "info", "hello"))}
    assert spent == {"set": 2, "get": 1, "getdel": 1, "del": 1}
    assert all(key.startswith(b"{test}:") for key in redis_server.command("KEYS", "*"))
    await store.close()


async def test_a_store_that_is_down_says_so() -> None:
    store = opened(f"redis://127.0.0.1:{free_port()}")
    for call in (store.add("a", 1), store.put("a", "", 1), store.get("a"), store.pop("a"), store.delete("a")):
        with pytest.raises(StoreUnavailable):
            await call
    await store.close()


async def test_a_memory_store_is_bounded_and_forgets_nothing_that_lives() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now, emit=lambda _: None, most_values=3)
    for number in range(3):
        await store.put(f"a:{number}", "x", 10 + number)
    with pytest.raises(StoreUnavailable, match="full"):
        await store.add("a:3", 10)
    await store.put("a:0", "y", 10)
    now = 10.0
    assert await store.add("a:3", 10)
    assert [await store.get(f"a:{number}") for number in range(4)] == [None, "x", "x", "1"]


async def test_a_memory_store_purges_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.stores.memory._PURGE_EVERY", 0.01)
    now = 0.0
    store = MemoryStore(clock=lambda: now, emit=lambda _: None)
    await store.put("a:1", "x", 1)
    await store.put("a:2", "x", 60)
    task = asyncio.get_running_loop().create_task(store.follow(RevocationView(1)))
    now = 5.0
    await eventually(lambda: "1 values" in repr(store))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Clocks:
    """Epoch and monotonic seconds; the first may be stepped."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.moment = 0.0

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.moment += seconds


async def test_a_memory_store_forgets_nothing_when_its_clock_is_an_hour_ahead_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was revoked, what was used once, and how soon somebody may try again."""
    monkeypatch.setattr("sidecar.stores.memory._PURGE_EVERY", 0.01)
    clocks, view = Clocks(), RevocationView(1)
    store = MemoryStore(clock=lambda: clocks.now, monotonic=lambda: clocks.moment, emit=lambda _: None)
    task = asyncio.get_running_loop().create_task(store.follow(view))
    await store.revoke("a", int(clocks.now) + 1800)
    await store.revoke("ended", int(clocks.now) + 2)
    await store.put("used:a", "x", 600)
    await eventually(lambda: "ended" in view)
    clocks.passes(5)
    clocks.now += 3600
    await eventually(lambda: "ended" not in view)
    budget = Budget("a", Rate(1, 60))
    assert [(await store.consume([budget]))[0].taken for _ in range(2)] == [True, False]
    clocks.now -= 3600
    assert "a" in view
    assert await store.get("used:a") == "x"
    clocks.passes(60)
    assert (await store.consume([budget]))[0].taken
    clocks.passes(1800)
    await eventually(lambda: "a" not in view)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
