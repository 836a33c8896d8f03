"""Redis loses data, is replaced by another server, or holds what nobody wrote: what was revoked stays revoked."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from sidecar.core.events import StoreNoted, StoreUsed
from sidecar.core.ports import StoreUnavailable
from tests.contract.test_redis_feed import FUTURE, REVOKED, STREAM, Node, nodes
from tests.support.redis import RedisServer
from tests.support.switch import Switch
from tests.support.waiting import eventually

STATE = "{test}:state"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def noted(node: Node) -> list[str]:
    """What the operator was told, besides that these servers have no persistence."""
    names = [event.name for event in node.events if isinstance(event, StoreNoted)]
    return [name for name in names if name != "store_may_forget"]


@contextlib.asynccontextmanager
async def one(url: str, staleness: float = 0.5, **options: object) -> AsyncIterator[Node]:
    """A node that need not become usable."""
    node = Node(url, staleness, **options)
    try:
        yield node
    finally:
        await node.close()


async def always(condition: Callable[[], bool], until: Callable[[], bool], *, within: float = 10) -> None:
    """The condition holds at every moment that is looked at, up to the one in which `until` does."""
    deadline = time.monotonic() + within
    while not until():
        assert condition()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    assert condition()


@contextlib.contextmanager
def replica_of(primary: RedisServer, *options: str) -> Iterator[tuple[RedisServer, Switch]]:
    """A replica, and the link over which it hears of its primary."""
    with RedisServer(*options) as replica, Switch(primary.port) as link:
        replica.command("REPLICAOF", "127.0.0.1", link.port)
        yield replica, link


def promote(primary: RedisServer, replica: RedisServer, link: Switch) -> None:
    """The primary dies, and with it what the link had not passed on."""
    primary.kill()
    link.cut()
    replica.command("REPLICAOF", "NO", "ONE")


async def in_step(primary: RedisServer, replica: RedisServer) -> None:
    """The replica holds all of it."""

    def offset(server: RedisServer, field: str) -> int:
        with contextlib.closing(server.client()) as client:
            return int(client.info("replication").get(field, -1))

    await eventually(lambda: 0 < offset(primary, "master_repl_offset") <= offset(replica, "slave_repl_offset"))


async def test_a_failover_to_a_replica_that_lacks_a_revocation_admits_nobody(own_redis: RedisServer) -> None:
    """One process revoked and was answered; the other, and the replica, had not heard of it when the primary died."""
    with replica_of(own_redis) as (replica, link), Switch(own_redis.port) as near, Switch(own_redis.port) as far:
        async with nodes(near.url, 1, staleness=2) as (first,), nodes(far.url, 1, staleness=2) as (second,):
            await first.store.revoke("before", FUTURE)
            await eventually(lambda: second.knows("before"))
            await in_step(own_redis, replica)
            link.hold()
            far.hold()
            await first.store.revoke("during", FUTURE)
            assert first.knows("during")
            promote(own_redis, replica, link)
            assert replica.command("ZSCORE", REVOKED, "during") is None
            near.lead_to(replica.port)
            far.lead_to(replica.port)
            begun = time.monotonic()
            # Its view may be used as long as it was good before; from then on it has to know.
            await always(
                lambda: second.knows("during") or not second.usable or time.monotonic() - begun < 2,
                lambda: second.knows("during") and second.usable and first.usable,
            )
            assert replica.command("ZSCORE", REVOKED, "during") == FUTURE


@pytest.mark.parametrize("seen", [False, True])
async def test_what_a_process_wrote_to_a_server_that_was_replaced_is_written_again(
    own_redis: RedisServer, *, seen: bool
) -> None:
    """The stream looks continuous: the entry that was read last is there on both servers."""
    with replica_of(own_redis) as (replica, link), Switch(own_redis.port) as relay:
        async with nodes(relay.url, 1, staleness=2) as (node,):
            await node.store.revoke("before", FUTURE)
            await in_step(own_redis, replica)
            link.hold()
            if not seen:
                relay.hold()
                writer = asyncio.get_running_loop().create_task(node.store.revoke("during", FUTURE))
                await eventually(lambda: own_redis.command("ZSCORE", REVOKED, "during") is not None)
                writer.cancel()
                node.store._note([("during", FUTURE)])  # as if the answer had come, and the entry had not
            else:
                await node.store.revoke("during", FUTURE)
            promote(own_redis, replica, link)
            assert replica.command("ZSCORE", REVOKED, "during") is None
            relay.lead_to(replica.port)
            await eventually(lambda: replica.command("ZSCORE", REVOKED, "during") is not None)


@pytest.mark.parametrize("loss", [("DEL", REVOKED), ("ZREM", REVOKED, "a"), ("ZREMRANGEBYRANK", REVOKED, 0, 1)])
async def test_a_set_that_lost_entries_alone_is_given_back(redis_server: RedisServer, loss: tuple[str, ...]) -> None:
    """Redis evicted it, or somebody deleted it: the stream goes on as if nothing had been."""
    async with nodes(redis_server.url, 2) as (first, second):
        for name in ("a", "b", "c"):
            await first.store.revoke(name, FUTURE)
        await eventually(lambda: second.knows("a", "b", "c"))
        redis_server.command(*loss)
        async with one(redis_server.url) as newcomer:
            await always(lambda: newcomer.knows("a", "b", "c") or not newcomer.usable, lambda: newcomer.usable)
        await eventually(lambda: redis_server.command("ZCARD", REVOKED) == 3)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))
        assert False not in first.said


async def test_a_set_that_nobody_remembers_is_believed_after_a_while_and_the_operator_told(
    redis_server: RedisServer,
) -> None:
    """What the stream still has is refused."""
    async with nodes(redis_server.url, 1) as (node,):
        await node.store.revoke("a", FUTURE)
    redis_server.command("DEL", REVOKED)
    async with one(redis_server.url) as newcomer:
        await always(lambda: newcomer.knows("a") or not newcomer.usable, lambda: newcomer.usable)
        assert noted(newcomer) == ["revocations_lost"]
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, "a") == FUTURE)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))


async def test_an_old_snapshot_gets_back_what_was_revoked_since(own_redis: RedisServer) -> None:
    """A process that starts in between does not admit it either."""
    async with nodes(own_redis.url, 2) as (first, second):
        await first.store.revoke("before", FUTURE)
        await eventually(lambda: second.knows("before"))
        kept = {key: own_redis.command("DUMP", key) for key in own_redis.command("KEYS", "*")}
        await first.store.revoke("since", FUTURE)
        await eventually(lambda: second.knows("since"))
        own_redis.command("FLUSHALL")
        for key, value in kept.items():
            own_redis.command("RESTORE", key, 0, value)
        await eventually(lambda: own_redis.command("ZSCORE", REVOKED, "since") == FUTURE)
        async with one(own_redis.url) as newcomer:
            await eventually(lambda: newcomer.usable)
            assert newcomer.knows("before", "since")


async def test_thousands_are_given_back_once_and_nobody_waits_for_it(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url, 3, staleness=3) as fleet:
        await fleet[0].store.remember([(f"t{number}", FUTURE) for number in range(30_000)])
        await eventually(lambda: all(len(node.view) == 30_000 for node in fleet), within=30)
        for node in fleet:
            node.store.revocations.feed._heard.clear()  # they became known long ago
        before = redis_server.calls()["zadd"]
        redis_server.command("FLUSHALL")
        await eventually(lambda: redis_server.command("ZCARD", REVOKED) == 30_000, within=60)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"), within=60)
        assert all(node.said == [True] for node in fleet)
        assert redis_server.calls()["zadd"] - before < 40_000


@contextlib.asynccontextmanager
async def revoking(writer: Node) -> AsyncIterator[Callable[[], int]]:
    """The writer has revoked thirty thousand, and goes on without a pause; gives how many they are by now."""
    await writer.store.remember([(f"t{number}", FUTURE) for number in range(30_000)])
    written = 30_000

    async def revoke() -> None:
        nonlocal written
        while True:
            await writer.store.remember([(f"t{written + number}", FUTURE) for number in range(500)])
            written += 500

    task = asyncio.get_running_loop().create_task(revoke())
    try:
        yield lambda: written
    finally:
        task.cancel()


async def test_a_process_that_starts_while_many_are_revoked_becomes_usable(redis_server: RedisServer) -> None:
    """The stream holds ten thousand entries: while everything is loaded, more come than it holds."""
    async with (
        nodes(redis_server.url, 1, staleness=5) as (writer,),
        revoking(writer) as written,
        one(redis_server.url, 5) as newcomer,
    ):
        await eventually(lambda: newcomer.usable, within=60)
        assert written() > 40_000 or len(newcomer.view) >= 30_000


async def test_a_loss_is_over_while_many_are_revoked(redis_server: RedisServer) -> None:
    """Whoever gives back what was lost does not wait for an end of what is revoked meanwhile."""
    async with nodes(redis_server.url, 1, staleness=5) as (writer,), revoking(writer) as written:
        before = written()
        await eventually(lambda: written() > before)
        redis_server.command("DEL", STATE)
        async with one(redis_server.url, 5) as newcomer:
            await eventually(lambda: newcomer.usable, within=60)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"), within=60)


async def test_what_cannot_be_read_refuses_what_it_names_and_ends_nothing(redis_server: RedisServer) -> None:
    with contextlib.closing(redis_server.client()) as client:
        client.zadd(
            REVOKED, {"a": float("inf"), "b": float("-inf"), b"\xff\xfe": FUTURE, " odd": 3.7e20, "d": FUTURE + 0.5}
        )
        client.xadd(STREAM, {"jti": "e", "until": "9" * 400})
        client.xadd(STREAM, {"jti": "f", "until": "-1"})
        client.xadd(STREAM, {b"\xff": b"\xfe"})
    async with nodes(redis_server.url, 2) as (first, second):
        assert first.knows("a", "\udcff\udcfe", " odd", "d", "e", "f")
        assert first.store.condition().unreadable >= 5
        await first.store.revoke("good", FUTURE)
        await eventually(lambda: second.knows("good"))
        redis_server.command("FLUSHALL")
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, b"\xff\xfe") is not None)
        assert False not in first.said


async def test_a_state_of_another_type_is_a_fault_of_the_store(redis_server: RedisServer) -> None:
    redis_server.command("SET", STATE, "text")
    async with one(redis_server.url) as node:
        await eventually(lambda: node.said == [False])
        assert not node.usable
        redis_server.command("DEL", STATE)
        await eventually(lambda: node.usable)


@pytest.mark.parametrize("offset", [-3600, 3600])
async def test_a_clock_that_is_an_hour_off_makes_nobody_forget(redis_server: RedisServer, offset: int) -> None:
    """Neither by what that process writes nor by what it forgets."""
    soon = int(time.time()) + 600
    async with nodes(redis_server.url, 1) as (good,), one(redis_server.url, clock=lambda: time.time() + offset) as odd:
        await eventually(lambda: odd.usable)
        await good.store.revoke("ours", soon)
        await odd.store.revoke("theirs", soon)
        await odd.store.revoke("another", soon + 3600)
        await eventually(lambda: good.knows("ours", "theirs", "another"))
        assert set(redis_server.command("ZRANGE", REVOKED, 0, -1)) == {b"ours", b"theirs", b"another"}
        async with nodes(redis_server.url, 1) as (newcomer,):
            assert newcomer.knows("ours", "theirs", "another")
        assert noted(odd) == ["clock_differs"]
        assert odd.store.condition().skew == pytest.approx(-offset, abs=1)
        assert noted(good) == []
        assert abs(good.store.condition().skew) < 1


async def test_the_beat_forgets_what_is_long_over(redis_server: RedisServer) -> None:
    long_over, over = int(time.time()) - 8000, int(time.time()) - 100
    with contextlib.closing(redis_server.client()) as client:
        client.zadd(REVOKED, {f"old{number}": long_over for number in range(1200)} | {"late": over})
    async with nodes(redis_server.url, 1) as (node,):
        await eventually(lambda: redis_server.command("ZRANGE", REVOKED, 0, -1) == [b"late"])
        await eventually(lambda: len(node.view) == 0)
        # The one loss is that of the new server, and it ends: what the beats forget is not counted as lost.
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))
        assert redis_server.command("HGET", STATE, "why") == b"server"


async def test_a_full_server_goes_on_showing_what_was_revoked(own_redis: RedisServer) -> None:
    """Nothing can be revoked, and that is said; what was revoked is known."""
    async with nodes(own_redis.url, 2) as (first, second):
        await first.store.revoke("a", FUTURE)
        await eventually(lambda: second.knows("a"))
        own_redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        await eventually(lambda: "store_not_writable" in noted(first))
        begun = time.monotonic()
        await always(lambda: first.usable and second.usable, lambda: time.monotonic() - begun > 2)
        assert "out of memory" in first.store.condition().fault_of_writes
        with pytest.raises(StoreUnavailable):
            await first.store.revoke("b", FUTURE)
        async with nodes(own_redis.url, 1) as (newcomer,):
            assert newcomer.knows("a")
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        await eventually(lambda: noted(first) == ["store_not_writable", "store_writable"])
        await first.store.revoke("b", FUTURE)
        await eventually(lambda: second.knows("b"))
        assert first.said == [True]


async def test_a_replica_is_believed_while_it_hears_its_primary_and_not_when_it_is_cut_off(
    own_redis: RedisServer,
) -> None:
    async with nodes(own_redis.url, 1, staleness=4) as (writer,):
        await writer.store.revoke("a", FUTURE)
        with replica_of(own_redis, "--repl-ping-replica-period", "1") as (replica, _):
            async with one(replica.url, 4) as reader:
                await eventually(lambda: reader.usable, within=20)
                assert reader.knows("a")
                assert noted(reader) == ["store_not_writable"]
                await writer.store.revoke("b", FUTURE)
                await eventually(lambda: reader.knows("b"))
                own_redis.kill()
                await eventually(lambda: not reader.usable, within=20)
                assert "cut off" in str(reader.events[-1])


async def test_a_cancellation_in_the_moment_in_which_the_server_goes_is_not_lost(redis_server: RedisServer) -> None:
    """Whatever the feed is doing: the reader's connection, the beat's, or both are cut at the same time."""
    with Switch(redis_server.port) as relay:
        for number in range(150):
            async with nodes(relay.url, 1) as (node,):
                relay.cut()
                for _ in range(number % 15):
                    await asyncio.sleep(0)
                node.task.cancel()
                done, _ = await asyncio.wait([node.task], timeout=5)
                assert done, "the cancellation was lost"
                assert node.task.cancelled()


TURN = "{test}:turn"


async def test_a_process_that_starts_right_after_everything_was_lost_waits_for_those_who_remember(
    redis_server: RedisServer,
) -> None:
    """Before any of them has noticed; they are far away, and giving back takes a while."""
    with Switch(redis_server.port, delay=0.01) as far:
        async with nodes(far.url, 2, staleness=1) as (first, _):
            names = [f"t{number}" for number in range(10_000)]
            await first.store.remember([(name, FUTURE) for name in names])
            await eventually(lambda: first.knows(*names), within=30)
            redis_server.command("FLUSHALL")
            async with one(redis_server.url, 1) as newcomer:
                await always(lambda: not newcomer.usable or newcomer.knows(*names), lambda: newcomer.usable, within=30)
                assert noted(newcomer) == []


async def test_a_second_loss_while_the_first_is_given_back_is_made_good_too(redis_server: RedisServer) -> None:
    with Switch(redis_server.port, delay=0.005) as far:
        async with nodes(far.url, 1, staleness=2) as (node,):
            names = [f"t{number}" for number in range(10_000)]
            await node.store.remember([(name, FUTURE) for name in names])
            await eventually(lambda: node.knows(*names), within=30)
            node.store.revocations.feed._heard.clear()
            redis_server.command("ZREM", REVOKED, "t1")
            await eventually(lambda: redis_server.command("EXISTS", TURN) == 1)
            await asyncio.sleep(0.03)  # somewhere in the sweep
            redis_server.command("DEL", REVOKED)
            redis_server.command("XTRIM", STREAM, "MAXLEN", 1)
            await eventually(lambda: redis_server.command("ZCARD", REVOKED) == 10_000, within=30)
            await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"), within=30)
            async with one(redis_server.url, 2) as newcomer:
                await eventually(lambda: newcomer.usable)
                assert newcomer.knows(*names)


async def test_when_everything_is_back_nobody_looks_for_it_any_more(redis_server: RedisServer) -> None:
    """Also when giving back takes longer than a beat."""
    with Switch(redis_server.port, delay=0.003) as far:
        async with nodes(far.url, 2, staleness=1) as (first, second):
            await first.store.remember([(f"t{number}", FUTURE) for number in range(15_000)])
            await eventually(lambda: len(second.view) == 15_000, within=30)
            redis_server.command("DEL", REVOKED)
            await eventually(lambda: redis_server.command("ZCARD", REVOKED) == 15_000, within=30)
            seen = -1
            while seen != (seen := redis_server.calls().get("zmscore", 0)):  # noqa: ASYNC110  the server is elsewhere
                await asyncio.sleep(1.5)  # seven beats
            assert not redis_server.command("HEXISTS", STATE, "open")
            assert not redis_server.command("EXISTS", TURN)


async def test_what_is_known_lately_is_given_back_whoever_has_the_turn(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url, 2) as (first, second):
        await first.store.revoke("ours", FUTURE)
        await eventually(lambda: second.knows("ours"))
        redis_server.command("SET", TURN, "somebody", "PX", 60_000)
        redis_server.command("FLUSHALL")
        redis_server.command("SET", TURN, "somebody", "PX", 60_000)
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, "ours") == FUTURE)
        assert redis_server.command("GET", TURN) == b"somebody"


async def test_a_process_that_waits_gives_back_what_it_wrote_meanwhile(redis_server: RedisServer) -> None:
    redis_server.command("HSET", STATE, "card", 5)
    redis_server.command("HSET", STATE, "sign", FUTURE)  # somebody gives back, and goes on
    async with one(redis_server.url) as waiting:
        await eventually(lambda: redis_server.command("HEXISTS", STATE, "open") == 1)
        await waiting.store.revoke("x", FUTURE)
        redis_server.command("DEL", REVOKED)
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, "x") == FUTURE)
        assert not waiting.usable
        redis_server.command("HSET", STATE, "sign", 0)
        await eventually(lambda: waiting.usable)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))


@pytest.mark.parametrize(
    "poison",
    [
        ("RPUSH", TURN, "a"), ("SET", TURN, "without an end"), ("HSET", STATE, "card", "abc"), ("HSET", STATE, "card", "-5"),
        ("HSET", STATE, "open", "", "loss", "x"), ("HSET", STATE, "since", "x", "sign", "y"), ("DEL", STATE),
        ("XADD", STREAM, "18446744073709551615-18446744073709551615", "a", "b"),
    ],
)  # fmt: skip
async def test_poison_in_what_is_known_about_the_set_hides_no_loss(
    redis_server: RedisServer, poison: tuple[str, ...]
) -> None:
    """Nor does it fill the log, or make anybody wait for ever."""
    async with nodes(redis_server.url, 2) as (first, second):
        await first.store.revoke("a", FUTURE)
        await eventually(lambda: second.knows("a"))
        # What was empty at the start counts as a loss: that has to be over, and the turn taken for it.
        await eventually(lambda: not redis_server.command("EXISTS", TURN))
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))
        redis_server.command(*poison)
        redis_server.command("DEL", REVOKED)
        await eventually(lambda: redis_server.command("ZSCORE", REVOKED, "a") == FUTURE)
        await eventually(lambda: not redis_server.command("HEXISTS", STATE, "open"))
        await first.store.revoke("b", FUTURE)
        await eventually(lambda: second.knows("b") and first.usable and second.usable)
        async with one(redis_server.url) as newcomer:
            await eventually(lambda: newcomer.usable)
            assert newcomer.knows("a", "b")
        logged = [event for event in (*first.events, *second.events) if not isinstance(event, StoreUsed)]
        assert len(logged) < 20


async def test_an_end_that_is_too_far_away_is_kept_as_never(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url, 2) as (first, second):
        redis_server.command("XADD", STREAM, "*", "jti", " subject 5 bob", "until", "9999999999999999")
        redis_server.command("DEL", REVOKED)
        await eventually(lambda: first.usable and second.usable and first.view.issued_too_early("c", "bob", 5))
        await first.store.revoke("b", FUTURE)
        await eventually(lambda: second.knows("b"))
