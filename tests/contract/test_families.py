"""Families of refresh tokens: what every store promises, and that both mean the same by it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.refresh import Access, Ended, Family, Outcome, Rotated, Rotation
from sidecar.core.revocations import Cutoff, RevocationView
from sidecar.stores import open_store
from tests.support.redis import RedisServer, free_port
from tests.support.waiting import eventually

ISSUED = int(time.time())
LATER = ISSUED + 3600
FAMILY = Family("app", "alice", ("analyst", "boss"), ("a", "b:c"), ISSUED, LATER)
IDLE = 600


def opened(url: str, prefix: str = "{test}") -> Store:
    return open_store(
        url, prefix=prefix, timeout=2, max_staleness=1, clock=time.time, monotonic=time.monotonic, emit=lambda _: None
    )


@contextlib.asynccontextmanager
async def followed(store: Store) -> AsyncIterator[RevocationView]:
    view = RevocationView(1)
    task = asyncio.get_running_loop().create_task(store.follow(view))
    try:
        await eventually(lambda: view.usable(time.monotonic()))
        yield view
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


@pytest.fixture(params=["memory", "redis"])
async def served(
    request: pytest.FixtureRequest, redis_server: RedisServer
) -> AsyncIterator[tuple[Store, RevocationView]]:
    store = opened("memory://" if request.param == "memory" else redis_server.url)
    async with followed(store) as view:
        yield store, view


Served = tuple[Store, RevocationView]


def asking(
    presented: str, successor: str, jti: str = "", *scope: str, client: str = "app", grace: float = 10
) -> Rotation:
    return Rotation(client, presented, successor, scope, Access(jti or f"of-{successor}", LATER), grace, IDLE)


async def begin(store: Store, key: str = "k", family: Family = FAMILY, idle: int = IDLE) -> None:
    assert await store.open_family(key, family, "t0", Access("j0", LATER), idle)


async def test_a_token_gives_its_successor(served: Served) -> None:
    store, view = served
    await begin(store)
    assert await store.rotate("k", asking("t0", "t1")) == Rotated(Outcome.ROTATED, FAMILY, "t1")
    assert await store.rotate("k", asking("t1", "t2")) == Rotated(Outcome.ROTATED, FAMILY, "t2")
    assert len(view) == 0


async def test_a_family_is_opened_once(served: Served) -> None:
    store, _ = served
    await begin(store)
    assert not await store.open_family("k", FAMILY, "other", Access("j", LATER), IDLE)
    assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.ROTATED


async def test_the_previous_token_gives_the_same_successor_once(served: Served) -> None:
    """A lost answer logs nobody out; whoever comes after that changes nothing."""
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    assert await store.rotate("k", asking("t0", "t1", "j1b")) == Rotated(Outcome.REPEATED, FAMILY, "t1")
    for _ in range(3):
        assert await store.rotate("k", asking("t0", "t1")) == Rotated(Outcome.REPLAYED)
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.ROTATED
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.REPEATED, "each rotation has its own grace"
    assert len(view) == 0


async def test_the_previous_token_gives_what_was_given_whatever_its_successor_would_be_now(served: Served) -> None:
    """The keys were rotated meanwhile."""
    store, _ = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    assert await store.rotate("k", asking("t0", "x1")) == Rotated(Outcome.REPEATED, FAMILY, "t1")


async def test_a_replay_after_the_grace_ends_the_family_and_its_access_tokens(served: Served) -> None:
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1", "j1"))
    replay = await store.rotate("k", asking("t0", "t1", "j2", grace=0))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.REUSED, {"j0", "j1"})
    assert {"j0", "j1"} == set(view.live(ISSUED)), "in this process at once"
    for token in ("t0", "t1", "t2"):
        assert await store.rotate("k", asking(token, "x")) == Rotated(Outcome.ENDED)


@pytest.mark.parametrize("token", ["t0", "never-was"])
async def test_any_other_token_of_the_family_ends_it_also_within_the_grace(served: Served, token: str) -> None:
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1", "j1"))
    await store.rotate("k", asking("t1", "t2", "j2"))
    replay = await store.rotate("k", asking(token, "x"))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.REUSED, {"j0", "j1", "j2"})
    assert (await store.rotate("k", asking("t2", "t3"))).outcome is Outcome.ENDED
    assert len(view) == 3


@pytest.mark.parametrize("token", ["t0", "t1", "x"])
async def test_another_client_changes_nothing(served: Served, token: str) -> None:
    store, _ = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    assert await store.rotate("k", asking(token, "t2", client="other")) == Rotated(Outcome.FOREIGN)
    assert await store.end_family("k", "other") == Ended(Outcome.FOREIGN)
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.ROTATED


async def test_scopes_beyond_the_familys_change_nothing(served: Served) -> None:
    store, _ = served
    await begin(store)
    for scope in (["x"], ["a", "x"], ["b"], ["c"], ["a b:c"], ["."], ["%"], [""]):
        assert await store.rotate("k", asking("t0", "t1", "j", *scope)) == Rotated(Outcome.BEYOND_SCOPE)
    assert (await store.rotate("k", asking("t0", "t1", "", "b:c"))) == Rotated(Outcome.ROTATED, FAMILY, "t1")


async def test_a_family_nobody_knows(served: Served) -> None:
    store, _ = served
    assert await store.rotate("k", asking("t0", "t1")) == Rotated(Outcome.UNKNOWN)
    assert await store.end_family("k") == Ended(Outcome.UNKNOWN)
    assert await store.read_family("k") is None


async def test_a_family_ends_when_it_is_told_to(served: Served) -> None:
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1", "j1"))
    end = await store.end_family("k", "app")
    assert (end.outcome, set(end.revoked)) == (Outcome.ENDED, {"j0", "j1"})
    assert {"j0", "j1"} == set(view.live(ISSUED))
    assert await store.end_family("k") == Ended(Outcome.ENDED)
    assert await store.rotate("k", asking("t1", "t2")) == Rotated(Outcome.ENDED)
    state = await store.read_family("k")
    assert state is not None
    assert (state.ended, state.current, state.previous) == (True, "", "")


async def test_an_end_that_comes_first_is_kept(served: Served) -> None:
    """A code that is replayed while its first use is on the way."""
    store, _ = served
    await store.end_family("k", forbid=60)
    assert not await store.open_family("k", FAMILY, "t0", Access("j0", LATER), IDLE)
    assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.UNKNOWN
    assert await store.open_family("other", FAMILY, "t0", Access("j0", LATER), IDLE)


async def test_a_family_may_have_no_refresh_token(served: Served) -> None:
    """It remembers what came of a grant, to end it."""
    store, _ = served
    assert await store.open_family("k", FAMILY, "", Access("j0", LATER), IDLE)
    assert (await store.end_family("k")).revoked == ("j0",)


async def test_a_family_ends_at_its_end(served: Served) -> None:
    store, _ = served
    await begin(store, "absolute", FAMILY._replace(ends=int(time.time()) - 1))
    await begin(store, "idle", idle=0)
    for key in ("absolute", "idle"):
        assert await store.rotate(key, asking("t0", "t1")) == Rotated(Outcome.EXPIRED)
        state = await store.read_family(key)
        assert state is not None
        assert not state.alive(time.time())
        assert (await store.end_family(key, "app")).revoked == ("j0",), "its access token may live longer"


async def test_using_it_keeps_a_family_from_being_idle(served: Served) -> None:
    store, _ = served
    await begin(store, idle=5)
    await store.rotate("k", asking("t0", "t1"))
    state = await store.read_family("k")
    assert state is not None
    assert IDLE - 5 < state.idle_end - time.time() <= IDLE + 1
    assert (state.family, state.current, state.previous, state.repeated) == (FAMILY, "t1", "t0", False)
    assert abs(state.rotated - time.time()) < 5


async def test_access_tokens_that_have_expired_are_not_revoked(served: Served) -> None:
    store, view = served
    await store.open_family("k", FAMILY, "t0", Access("old", int(time.time()) - 1), IDLE)
    await store.rotate("k", asking("t0", "t1", "new"))
    assert (await store.end_family("k")).revoked == ("new",)
    assert set(view.live(0)) == {"new"}


CUTOFFS = {
    "all": Cutoff("all", "", ISSUED),
    "its client": Cutoff("client", "app", ISSUED),
    "its subject": Cutoff("subject", "alice", ISSUED + 5),
}
OTHERS = [Cutoff("all", "", ISSUED - 1), Cutoff("client", "alice", ISSUED), Cutoff("subject", "app", ISSUED)]


@pytest.mark.parametrize("case", CUTOFFS)
async def test_a_cutoff_ends_what_was_granted_before(served: Served, case: str) -> None:
    store, view = served
    await begin(store)
    for other in OTHERS:
        await store.cut_off(other, LATER)
    assert (await store.rotate("k", asking("t0", "t1", "j1"))).outcome is Outcome.ROTATED
    await store.cut_off(CUTOFFS[case], LATER)
    await store.cut_off(CUTOFFS[case]._replace(before=ISSUED - 100), LATER + 5)
    assert view.cut_off("app", "alice", ISSUED)
    replay = await store.rotate("k", asking("t1", "t2"))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.ENDED, {"j0", "j1"})
    assert not await store.open_family("k2", FAMILY, "t0", Access("j", LATER), IDLE)
    assert await store.open_family("k3", FAMILY._replace(issued=ISSUED + 6), "t0", Access("j", LATER), IDLE)


async def test_fifty_at_once_give_one_successor(served: Served) -> None:
    store, view = served
    await begin(store)
    said = await asyncio.gather(*(store.rotate("k", asking("t0", "t1", f"j{number}")) for number in range(50)))
    outcomes = sorted(each.outcome for each in said)
    assert outcomes == sorted([Outcome.ROTATED, Outcome.REPEATED, *[Outcome.REPLAYED] * 48])
    assert {each.current for each in said if each.current} == {"t1"}
    assert len(view) == 0
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.ROTATED


TOKENS = st.sampled_from(["t0", "t1", "t2", "t3"])
STEPS = st.one_of(
    st.tuples(st.just("rotate"), TOKENS, st.sampled_from([0.0, 60.0]), st.sampled_from(["app", "app", "other"]), st.sampled_from(["", "a", "x"])),
    st.tuples(st.just("end"), st.sampled_from(["app", "other"])),
    st.tuples(st.just("cut"), st.sampled_from([ISSUED, ISSUED - 1])),
)  # fmt: skip


@given(st.lists(STEPS, max_size=10))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_mean_the_same(redis_process: RedisServer, steps: list[tuple[object, ...]]) -> None:
    """Whatever is done to a family: the Lua functions say what `core.refresh` says."""
    redis_process.command("FLUSHALL")

    async def play(url: str) -> list[object]:
        store = opened(url)
        said: list[object] = []
        async with followed(store) as view:
            await begin(store)
            for number, step in enumerate(steps):
                match step:
                    case ("rotate", str(token), float(grace), str(client), str(scope)):
                        asked = asking(
                            token, f"t{int(token[1:]) + 1}", f"n{number}", *filter(None, [scope]), client=client
                        )
                        done = await store.rotate("k", asked._replace(grace=grace))
                        said.append(done._replace(revoked=tuple(sorted(done.revoked))))
                    case ("end", str(client)):
                        end = await store.end_family("k", client)
                        said.append(end._replace(revoked=tuple(sorted(end.revoked))))
                    case (_, int(before)):
                        await store.cut_off(Cutoff("client", "app", before), LATER)
                state = await store.read_family("k")
                assert state is not None
                said.append((state.current, state.previous, state.repeated, state.ended, view.live(0)))
        return said

    assert asyncio.run(play("memory://")) == asyncio.run(play(redis_process.url))


async def test_a_rotation_is_one_round_trip_and_nothing_is_kept_for_good(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    before = redis_server.calls()["evalsha"]
    for number in range(1, 21):
        await store.rotate("k", asking(f"t{number}", f"t{number + 1}"))
    assert redis_server.calls()["evalsha"] - before == 20
    ends = {key.decode(): redis_server.command("TTL", key) for key in redis_server.command("KEYS", "{test}:family:*")}
    assert ends.keys() == {"{test}:family:k", "{test}:family:k:live"}
    assert all(3000 < left <= 3601 for left in ends.values())
    await store.end_family("k")
    assert 3000 < redis_server.command("TTL", "{test}:family:k") <= 3601
    await store.cut_off(Cutoff("all", "", ISSUED), LATER)
    assert 3000 < redis_server.command("TTL", "{test}:cutoffs") <= 3601
    await store.close()


async def test_a_family_that_ends_in_one_process_is_refused_in_another(redis_server: RedisServer) -> None:
    """By reuse, and by a cutoff; also one that is loaded at the start."""
    first, second = opened(redis_server.url), opened(redis_server.url)
    async with followed(first), followed(second) as view:
        await begin(first)
        await first.rotate("k", asking("t0", "t1", "j1"))
        await first.rotate("k", asking("t0", "t1", grace=0))
        await eventually(lambda: "j0" in view and "j1" in view, within=2)
        await first.cut_off(Cutoff("subject", "al ice", ISSUED), LATER)
        await eventually(lambda: view.cut_off("any", "al ice", ISSUED), within=2)
        third = opened(redis_server.url)
        async with followed(third) as loaded:
            assert loaded.cut_off("any", "al ice", ISSUED)
            assert not loaded.cut_off("any", "al ice", ISSUED + 1)
            assert "j0" in loaded


async def test_cutoffs_that_the_server_lost_are_given_back(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    async with followed(store):
        await store.cut_off(Cutoff("client", "app", ISSUED), LATER)
        redis_server.command("FLUSHALL")
        await eventually(lambda: redis_server.command("HGET", "{test}:cutoffs", "client app") == str(ISSUED).encode())
        assert not await store.open_family("k", FAMILY, "t0", Access("j0", LATER), IDLE)


async def test_a_store_that_is_down_says_so() -> None:
    store = opened(f"redis://127.0.0.1:{free_port()}")
    calls = [
        store.open_family("k", FAMILY, "t0", Access("j0", LATER), IDLE), store.rotate("k", asking("t0", "t1")),
        store.end_family("k"), store.read_family("k"), store.cut_off(Cutoff("all", "", 1), 2),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
    await store.close()
