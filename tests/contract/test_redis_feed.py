"""The revocation feed under the faults that Redis and the network have: continuity is shown, or the view is not used."""

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from sidecar.core.events import Event, StoreChanged
from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.connection import Server
from sidecar.stores.redis.store import RedisStore
from tests.support.members import Follower
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

STALENESS = 0.5
FUTURE = int(time.time()) + 1000
REVOKED, STREAM = "{test}:revoked", "{test}:revocations"


class Node(Follower):
    """One process of the fleet: a store and the view that it feeds."""

    def __init__(
        self,
        url: str,
        staleness: float = STALENESS,
        *,
        clock: Callable[[], float] = time.time,
        renewed: Callable[[], str] | None = None,
    ) -> None:
        events: list[Event] = []
        store = RedisStore(
            Server(url, timeout=0.5, renewed=renewed),
            prefix="{test}",
            interval=min(staleness / 5, 1.0),
            clock=clock,
            monotonic=time.monotonic,
            emit=events.append,
            jitter=random.random,
        )
        super().__init__(store, staleness, events)


@contextlib.asynccontextmanager
async def nodes(url: str, count: int = 2, staleness: float = STALENESS) -> AsyncIterator[list[Node]]:
    fleet = [Node(url, staleness) for _ in range(count)]
    try:
        await eventually(lambda: all(node.usable for node in fleet))
        yield fleet
    finally:
        for node in fleet:
            await node.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with RedisServer() as server:
        yield server


async def test_a_revocation_reaches_every_process(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url, 4) as fleet:
        for number, node in enumerate(fleet):
            await node.store.revoke(f"t{number}", FUTURE)
        await eventually(lambda: all(node.knows("t0", "t1", "t2", "t3") for node in fleet), within=2)


async def test_a_killed_server_makes_the_view_unusable_and_a_new_one_gets_what_was_lost(own_redis: RedisServer) -> None:
    async with nodes(own_redis.url) as (first, second):
        await first.store.revoke("before", FUTURE)
        await eventually(lambda: second.knows("before"))
        own_redis.kill()
        with pytest.raises(StoreUnavailable):
            await first.store.revoke("during", FUTURE)
        await eventually(lambda: not first.usable and not second.usable)
        assert first.said == [True, False]
        own_redis.start()
        await eventually(lambda: first.usable and second.usable)
        await eventually(lambda: own_redis.command("ZSCORE", REVOKED, "before") is not None)
        assert first.said == [True, False, True]
        async with nodes(own_redis.url, 1) as (newcomer,):
            assert newcomer.knows("before")


async def test_a_server_that_stands_still_is_found_out(own_redis: RedisServer) -> None:
    """Its connections stay open and nothing answers, as with a half-open socket."""
    async with nodes(own_redis.url) as (first, second):
        own_redis.pause()
        await eventually(lambda: not first.usable and not second.usable)
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await first.store.revoke("a", FUTURE)
        own_redis.resume()
        await eventually(lambda: first.usable and second.usable)
        await first.store.revoke("b", FUTURE)
        await eventually(lambda: second.knows("b"))


async def test_what_was_revoked_while_a_reader_was_cut_off_is_not_missed(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url) as (first, second):
        for number in range(10):
            redis_server.command("CLIENT", "KILL", "TYPE", "normal")
            with contextlib.suppress(StoreUnavailable):  # its own connection was cut as well
                await first.store.revoke(f"t{number}", FUTURE)
        kept = {name.decode() for name in redis_server.command("ZRANGE", REVOKED, 0, -1)}
        await eventually(lambda: first.usable and second.usable)
        assert kept
        await eventually(lambda: second.knows(*kept) and first.knows(*kept))


@pytest.mark.parametrize("heard", [[], [{"beat": "1"}], [{"after": "", "beat": "1"}, {"jti": "x", "until": FUTURE}]])
@pytest.mark.parametrize("loss", [("XTRIM", STREAM, "MAXLEN", 0), ("DEL", STREAM), ("FLUSHALL",)])
async def test_a_stream_that_lost_entries_makes_everything_load_again(
    redis_server: RedisServer, loss: tuple[str, ...], heard: list[dict[str, str]]
) -> None:
    """Also when new entries are heard before anybody asks whether the old ones are there."""
    async with nodes(redis_server.url) as (first, second):
        await first.store.revoke("kept", FUTURE)
        await eventually(lambda: second.knows("kept"))
        # What another process wrote while nobody could hear of it: it stands in the state only.
        with contextlib.closing(redis_server.client()) as client, client.pipeline() as pipe:
            pipe.execute_command(*loss)
            pipe.zadd(REVOKED, {"unheard": FUTURE})
            for fields in heard:
                pipe.xadd(STREAM, fields)
            pipe.execute()
        await eventually(lambda: first.knows("unheard") and second.knows("unheard"), within=5)
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, "kept") is not None)
        await eventually(lambda: first.usable and second.usable)


async def test_entries_that_cannot_be_read_do_no_harm(redis_server: RedisServer) -> None:
    """An end that is no number is taken for never; what names no token is skipped."""
    strange: list[dict[str, Any]] = [
        {"foo": "bar"}, {"jti": "a"}, {"jti": "b", "until": "soon"}, {"jti": b"\xff\xfe", "until": "1"},
    ]  # fmt: skip
    async with nodes(redis_server.url, 1) as (node,):
        with contextlib.closing(redis_server.client()) as client, client.pipeline() as pipe:
            for fields in strange:
                pipe.xadd(STREAM, fields)
            pipe.execute()
        await node.store.revoke("c", FUTURE)
        await eventually(lambda: node.knows("a", "b", "c") and node.usable)
        assert False not in node.said


async def test_keys_of_another_type_are_a_fault_of_the_store(redis_server: RedisServer) -> None:
    redis_server.command("SET", STREAM, "text")
    node = Node(redis_server.url)
    await eventually(lambda: node.said == [False])
    assert not node.usable
    with pytest.raises(StoreUnavailable, match="refuses the command"):
        await node.store.revoke("a", FUTURE)
    redis_server.command("DEL", STREAM)
    await eventually(lambda: node.usable)
    await node.close()


async def test_a_wrong_password_is_named_and_not_shown(redis_server: RedisServer) -> None:
    with RedisServer(password="right-password") as server:
        node = Node(server.url.replace("right-password", "wrong-password"))
        await eventually(lambda: bool(node.events))
        (event,) = node.events
        assert isinstance(event, StoreChanged)
        assert "password" in event.detail
        assert "wrong-password" not in repr(node.events) + repr(node.store)
        await node.close()
        async with nodes(server.url, 1):
            pass


async def test_a_read_only_replica_is_named(own_redis: RedisServer, redis_server: RedisServer) -> None:
    own_redis.command("REPLICAOF", "127.0.0.1", redis_server.port)
    await eventually(lambda: own_redis.command("INFO", "replication")["master_link_status"] == "up")
    node = Node(own_redis.url)
    with pytest.raises(StoreUnavailable, match="read-only replica"):
        await node.store.revoke("a", FUTURE)
    await node.close()


async def test_a_full_server_keeps_nothing_and_says_so(own_redis: RedisServer) -> None:
    own_redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    node = Node(own_redis.url)
    with pytest.raises(StoreUnavailable, match="out of memory"):
        await node.store.revoke("a", FUTURE)
    assert "a" not in node.view
    await node.close()


async def test_heartbeats_are_shared_and_the_stream_stays_short(redis_server: RedisServer) -> None:
    """Eight processes make about as many entries as one, and old revocations leave the set."""
    redis_server.command("ZADD", REVOKED, 1, "long-expired")
    async with nodes(redis_server.url, 8) as fleet:
        before = redis_server.command("XLEN", STREAM)
        begun = time.monotonic()
        await eventually(lambda: time.monotonic() - begun > 1.0)
        made = redis_server.command("XLEN", STREAM) - before
        assert 1 <= made <= 1.5 * (time.monotonic() - begun) / (STALENESS / 5)
        await fleet[0].store.revoke("a", FUTURE)
        assert redis_server.command("ZRANGE", REVOKED, 0, -1) == [b"a"]


async def test_ten_thousand_revocations_are_loaded(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url, 1, staleness=5) as (writer,):
        await writer.store.remember([(f"t{number}", FUTURE) for number in range(10_000)])
        await eventually(lambda: len(writer.view) == 10_000)
        async with nodes(redis_server.url, 1, staleness=5) as (newcomer,):
            assert len(newcomer.view) == 10_000


async def test_cancelling_at_any_moment_ends_the_feed_and_leaks_nothing(redis_server: RedisServer) -> None:
    """Against a server that loses connections all the while."""
    rng = random.Random(7)  # noqa: S311  the same moments in every run
    for _ in range(60):
        node = Node(redis_server.url)
        await asyncio.sleep(rng.random() * 0.02)
        if rng.random() < 0.3:
            redis_server.command("CLIENT", "KILL", "TYPE", "normal")
        node.task.cancel()
        done, _ = await asyncio.wait([node.task], timeout=5)
        assert done, "the cancellation was lost"
        assert node.task.cancelled()
        await node.store.close()
    gc.collect()  # an unclosed connection would be a ResourceWarning, which is an error
    await eventually(lambda: len(redis_server.command("CLIENT", "LIST").splitlines()) <= 2)
