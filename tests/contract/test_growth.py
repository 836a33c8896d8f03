"""Many revocations in Redis: what has ended leaves, and what is new does not push out what readers still need."""

import random
import time
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import pytest

from sidecar.core.revocations import RevocationView
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.revocations import STREAM_LENGTH
from sidecar.stores.redis.store import RedisStore
from tests.contract.test_redis_feed import FUTURE, REVOKED, STREAM, nodes
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

MARGIN = 7200  # seconds for which Redis keeps an entry after its end
STATE = "{test}:state"


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store that follows no feed, so that nothing runs but what a test calls."""
    made = RedisStore(
        Server(redis_server.url, timeout=5), prefix="{test}", interval=0.1, clock=time.time, monotonic=time.monotonic,
        emit=lambda event: None, jitter=random.random,
    )  # fmt: skip
    yield made
    await made.close()


def put(server: RedisServer, name: str, count: int, end: int) -> None:
    """Into the set, as if it had been revoked long ago."""
    server.command("ZADD", REVOKED, *[part for number in range(count) for part in (end, f"{name}{number}")])
    server.command("HSET", STATE, "card", server.command("ZCARD", REVOKED))


async def test_heartbeats_remove_what_a_storm_left(redis_server: RedisServer, store: RedisStore) -> None:
    """Twice as many as a storm of 2,000 a second leaves, with one process and a heartbeat a second."""
    put(redis_server, "over", 20_000, int(time.time()) - MARGIN - 60)
    put(redis_server, "live", 100, int(time.time()) - MARGIN + 600)
    for _ in range(4):
        await store.revocations.heartbeat(b"")
    assert redis_server.command("ZCARD", REVOKED) == 100
    assert redis_server.command("HGET", STATE, "card") == b"100"


async def test_each_revocation_removes_as_many_as_it_adds(redis_server: RedisServer, store: RedisStore) -> None:
    put(redis_server, "over", 2000, int(time.time()) - MARGIN - 60)
    for number in range(4):
        await store.remember([(f"new{number}-{each}", FUTURE) for each in range(500)])
    assert redis_server.command("ZCARD", REVOKED) == 2000
    assert redis_server.command("ZSCORE", REVOKED, "over1999") is None


async def test_what_has_ended_is_not_loaded(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis keeps it for two hours more, which can be five times what lives. Nor is it loaded and dropped at once."""
    loaded, add = list[str](), RevocationView.add

    def noting(view: RevocationView, revocations: Iterable[tuple[str, int]]) -> None:
        given = list(revocations)
        loaded.extend(name for name, _ in given)
        add(view, given)

    monkeypatch.setattr(RevocationView, "add", noting)
    put(redis_server, "over", 5000, int(time.time()) - 5)
    put(redis_server, "live", 5000, FUTURE)
    async with nodes(redis_server.url, 1, staleness=5) as (node,):
        assert node.view.live(0).keys() == {f"live{number}" for number in range(5000)}
        assert "over1" not in node.view
        assert len(loaded) == 5000


async def test_the_stream_keeps_a_whole_storm_for_a_while(redis_server: RedisServer, store: RedisStore) -> None:
    """A reader that was away during a storm need not load everything again."""
    for start in range(0, STREAM_LENGTH * 2, 500):
        await store.remember([(f"t{start + number}", FUTURE) for number in range(500)])
    assert redis_server.command("XLEN", STREAM) == 2 * STREAM_LENGTH


async def test_after_a_storm_the_stream_becomes_short_again_little_by_little(
    redis_server: RedisServer, store: RedisStore
) -> None:
    client = redis_server.client()
    with client.pipeline(transaction=False) as pipe:
        for number in range(15_000):
            pipe.xadd(STREAM, {"beat": 1}, id=f"{int(time.time() * 1000) - 60_000}-{number}")
        pipe.execute()
    client.close()
    lengths = [15_000]
    for number in range(100):
        await store.remember([(f"t{number}", FUTURE)])
        lengths.append(redis_server.command("XLEN", STREAM))
    assert all(before - after <= 200 for before, after in pairwise(lengths))
    assert STREAM_LENGTH <= lengths[-1] <= STREAM_LENGTH + 200


async def test_in_a_storm_the_reader_asks_once_for_several_entries(
    redis_server: RedisServer, store: RedisStore
) -> None:
    async with nodes(redis_server.url, 1, staleness=60) as (node,):
        begun, before = time.monotonic(), redis_server.calls()["xread"]
        for number in range(1000):
            await store.remember([(f"t{number}", FUTURE)])
        await eventually(lambda: len(node.view) == 1000)
        lasted = time.monotonic() - begun
        assert redis_server.calls()["xread"] - before <= lasted / 0.005 + 2
