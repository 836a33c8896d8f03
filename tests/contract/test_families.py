"""Families of refresh tokens: what every store promises, and that both mean the same by it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.oauth.refresh_tokens import MOST_UNUSED, Ended, Family, FamilyAccess, Outcome, Rotated, Rotation
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import NotBefore, RevocationView, family_end
from sidecar.stores import open_store
from sidecar.stores.memory import MemoryStore
from sidecar.stores.redis.store import RedisStore
from tests.contract.conftest import address_of
from tests.support.redis import RedisServer, free_port
from tests.support.waiting import eventually

ISSUED = int(time.time())
LATER = ISSUED + 3600
FAMILY = Family("app", "alice", ("analyst", "boss"), ("a", "b:c"), ISSUED, LATER)
IDLE = 600


def opened(url: str, prefix: str = "{test}", clock: Callable[[], float] = time.time) -> Store:
    return open_store(
        url, prefix=prefix, timeout=2, max_staleness=1, clock=clock, monotonic=time.monotonic, emit=lambda _: None
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


@pytest.fixture(params=["memory", "redis", "cluster"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Store, RevocationView]]:
    store = opened(address_of(request, request.param))
    async with followed(store) as view:
        yield store, view


Served = tuple[Store, RevocationView]


def asking(
    presented: str, successor: str, jti: str = "", *scope: str, client: str = "app", repeats: bool = True
) -> Rotation:
    return Rotation(client, presented, successor, scope, FamilyAccess(jti or f"of-{successor}", LATER), repeats, IDLE)


def revoked(view: RevocationView, now: float = ISSUED) -> set[str]:
    """The access tokens that are. The end of a family is told of beside them."""
    return {entry for entry in view.live(now) if not entry.startswith(" ")}


async def begin(store: Store, key: str = "k", family: Family = FAMILY, idle: int = IDLE) -> None:
    assert await store.open_family(key, family, "t0", FamilyAccess("j0", LATER), idle)


async def test_a_token_gives_its_successor(served: Served) -> None:
    store, view = served
    await begin(store)
    assert await store.rotate("k", asking("t0", "t1")) == Rotated(Outcome.ROTATED, FAMILY, "t1")
    assert await store.rotate("k", asking("t1", "t2")) == Rotated(Outcome.ROTATED, FAMILY, "t2")
    assert len(view) == 0


async def test_a_family_is_opened_once(served: Served) -> None:
    store, _ = served
    await begin(store)
    assert not await store.open_family("k", FAMILY, "other", FamilyAccess("j", LATER), IDLE)
    assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.ROTATED


async def test_the_previous_token_gives_the_same_successor_until_that_is_used(served: Served) -> None:
    """A lost answer logs nobody out, however often it is lost."""
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    for number in range(5):
        assert await store.rotate("k", asking("t0", "t1", f"j1{number}")) == Rotated(Outcome.REPEATED, FAMILY, "t1")
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.ROTATED
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.REPEATED, "of each rotation"
    assert len(view) == 0
    replay = await store.rotate("k", asking("t0", "t1"))
    assert replay.outcome is Outcome.REUSED
    assert {f"j1{number}" for number in range(5)} < set(replay.revoked), "whatever was given ends"


async def test_the_previous_token_gives_what_was_given_whatever_its_successor_would_be_now(served: Served) -> None:
    """The keys were rotated meanwhile."""
    store, _ = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1"))
    assert await store.rotate("k", asking("t0", "x1")) == Rotated(Outcome.REPEATED, FAMILY, "t1")


async def test_a_replay_ends_the_family_and_its_access_tokens(served: Served) -> None:
    """At once where no token may repeat what it gave."""
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1", "j1"))
    replay = await store.rotate("k", asking("t0", "t1", "j2", repeats=False))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.REUSED, {"j0", "j1"})
    assert {"j0", "j1"} == revoked(view), "in this process at once"
    for token in ("t0", "t1", "t2"):
        assert await store.rotate("k", asking(token, "x")) == Rotated(Outcome.ENDED)


@pytest.mark.parametrize("token", ["t0", "never-was"])
async def test_any_other_token_of_the_family_ends_it(served: Served, token: str) -> None:
    store, view = served
    await begin(store)
    await store.rotate("k", asking("t0", "t1", "j1"))
    await store.rotate("k", asking("t1", "t2", "j2"))
    replay = await store.rotate("k", asking(token, "x"))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.REUSED, {"j0", "j1", "j2"})
    assert (await store.rotate("k", asking("t2", "t3"))).outcome is Outcome.ENDED
    assert len(revoked(view)) == 3


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
    assert {"j0", "j1"} == revoked(view)
    assert await store.end_family("k") == Ended(Outcome.ENDED)
    assert await store.rotate("k", asking("t1", "t2")) == Rotated(Outcome.ENDED)
    state = await store.read_family("k")
    assert state is not None
    assert (state.ended, state.current, state.previous) == (True, "", "")


async def test_a_first_answer_is_given_again_while_nothing_of_it_was_used(served: Served) -> None:
    store, view = served
    await begin(store)
    for number in range(3):
        assert await store.open_family("k", FAMILY, "t0", FamilyAccess(f"again{number}", LATER), IDLE)
    assert not await store.open_family("k", FAMILY._replace(client_id="other"), "t0", FamilyAccess("x", LATER), IDLE)
    assert not await store.open_family("k", FAMILY, "", FamilyAccess("x", LATER), IDLE)
    await store.rotate("k", asking("t0", "t1", "j1"))
    for current in ("t0", "t1"):
        assert not await store.open_family("k", FAMILY, current, FamilyAccess("x", LATER), IDLE)
    assert set((await store.end_family("k")).revoked) == {"j0", "j1", "again0", "again1", "again2"} == revoked(view)
    assert not await store.open_family("k", FAMILY, "t0", FamilyAccess("x", LATER), IDLE)


async def test_an_answer_without_a_refresh_token_is_given_again(served: Served) -> None:
    store, _ = served
    for jti in ("j0", "j1"):
        assert await store.open_family("k", FAMILY, "", FamilyAccess(jti, LATER), IDLE)
    assert set((await store.end_family("k")).revoked) == {"j0", "j1"}
    assert not await store.open_family("k", FAMILY, "", FamilyAccess("j2", LATER), IDLE)


OWN = FAMILY._replace(subject="app")


@pytest.mark.parametrize("served", ["memory", "redis"], indirect=True)  # a Cluster keeps so many in each partition
async def test_of_the_grants_that_a_client_gave_itself_the_newest_unused_are_kept(served: Served) -> None:
    """And all that were used, and those of others."""
    store, view = served
    await begin(store, "alices")
    await begin(store, "used", OWN)
    await store.rotate("used", asking("t0", "t1"))
    for number in range(MOST_UNUSED + 2):
        await begin(store, f"own{number}", OWN)
    await begin(store, "others", OWN._replace(client_id="other", subject="other"))
    for gone in ("own0", "own1"):
        assert await store.rotate(gone, asking("t0", "t1")) == Rotated(Outcome.UNKNOWN)
        assert await store.read_family(gone) is None
    for kept in ("own2", f"own{MOST_UNUSED + 1}", "alices"):
        assert (await store.rotate(kept, asking("t0", "t1"))).outcome is Outcome.ROTATED
    assert (await store.rotate("used", asking("t1", "t2"))).outcome is Outcome.ROTATED
    assert (await store.rotate("others", asking("t0", "t1", client="other"))).outcome is Outcome.ROTATED
    assert len(view) == 0


async def test_a_memory_store_takes_any_number_of_grants_that_nobody_uses() -> None:
    store = MemoryStore(clock=time.time, emit=lambda _: None, most_values=MOST_UNUSED + 10)
    for number in range(1000):
        await begin(store, f"own{number}", OWN)
    assert len(store._families) == MOST_UNUSED


async def test_an_end_that_comes_first_is_kept(served: Served) -> None:
    """A code that is replayed while its first use is on the way."""
    store, _ = served
    await store.end_family("k", forbid=60)
    assert not await store.open_family("k", FAMILY, "t0", FamilyAccess("j0", LATER), IDLE)
    assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.UNKNOWN
    assert await store.open_family("other", FAMILY, "t0", FamilyAccess("j0", LATER), IDLE)


async def test_a_family_may_have_no_refresh_token(served: Served) -> None:
    """It remembers what came of a grant, to end it."""
    store, _ = served
    assert await store.open_family("k", FAMILY, "", FamilyAccess("j0", LATER), IDLE)
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
    assert (state.family, state.current, state.previous) == (FAMILY, "t1", "t0")
    assert abs(state.rotated - time.time()) < 5


async def test_access_tokens_that_have_expired_by_every_clock_are_not_revoked(served: Served) -> None:
    store, view = served
    await store.open_family("k", FAMILY, "t0", FamilyAccess("old", int(time.time()) - 7205), IDLE)
    await store.rotate("k", asking("t0", "t1", "new"))
    assert (await store.end_family("k")).revoked == ("new",)
    assert revoked(view, 0) == {"new"}


NOT_BEFORE = {
    "all": NotBefore("all", "", ISSUED),
    "its client": NotBefore("client", "app", ISSUED),
    "its subject": NotBefore("subject", "alice", ISSUED + 5),
}
OTHERS = [NotBefore("all", "", ISSUED - 1), NotBefore("client", "alice", ISSUED), NotBefore("subject", "app", ISSUED)]


@pytest.mark.parametrize("case", NOT_BEFORE)
async def test_a_not_before_time_ends_what_was_granted_before(served: Served, case: str) -> None:
    store, view = served
    await begin(store)
    for other in OTHERS:
        await store.set_not_before(other, LATER)
    assert (await store.rotate("k", asking("t0", "t1", "j1"))).outcome is Outcome.ROTATED
    await store.set_not_before(NOT_BEFORE[case], LATER)
    await store.set_not_before(NOT_BEFORE[case]._replace(before=ISSUED - 100), LATER + 5)
    assert view.issued_too_early("app", "alice", ISSUED)
    replay = await store.rotate("k", asking("t1", "t2"))
    assert (replay.outcome, set(replay.revoked)) == (Outcome.ENDED, {"j0", "j1"})
    assert not await store.open_family("k2", FAMILY, "t0", FamilyAccess("j", LATER), IDLE)
    assert await store.open_family("k3", FAMILY._replace(issued=ISSUED + 6), "t0", FamilyAccess("j", LATER), IDLE)


async def test_fifty_at_once_give_one_successor(served: Served) -> None:
    store, view = served
    await begin(store)
    said = await asyncio.gather(*(store.rotate("k", asking("t0", "t1", f"j{number}")) for number in range(50)))
    outcomes = sorted(each.outcome for each in said)
    assert outcomes == sorted([Outcome.ROTATED, *[Outcome.REPEATED] * 49])
    assert {each.current for each in said} == {"t1"}
    assert len(view) == 0
    assert (await store.rotate("k", asking("t1", "t2"))).outcome is Outcome.ROTATED


TOKENS = st.sampled_from(["t0", "t1", "t2", "t3"])
STEPS = st.one_of(
    st.tuples(st.just("rotate"), TOKENS, st.booleans(), st.sampled_from(["app", "app", "other"]), st.sampled_from(["", "a", "x"])),
    st.tuples(st.just("open"), st.sampled_from(["t0", "t1"]), st.sampled_from(["app", "app", "other"])),
    st.tuples(st.just("end"), st.sampled_from(["app", "other"])),
    st.tuples(st.just("cut"), st.sampled_from([ISSUED, ISSUED - 1])),
)  # fmt: skip


@given(st.lists(STEPS, max_size=10))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_stores_mean_the_same(redis_process: RedisServer, steps: list[tuple[object, ...]]) -> None:
    """Whatever is done to a family: the Lua functions say what `core.oauth.refresh_tokens` says."""
    redis_process.command("FLUSHALL")

    async def play(url: str) -> list[object]:
        store = opened(url)
        said: list[object] = []
        async with followed(store) as view:
            await begin(store)
            for number, step in enumerate(steps):
                match step:
                    case ("open", str(token), str(client)):
                        family = FAMILY._replace(client_id=client)
                        said.append(
                            await store.open_family("k", family, token, FamilyAccess(f"n{number}", LATER), IDLE)
                        )
                    case ("rotate", str(token), bool(repeats), str(client), str(scope)):
                        asked = asking(
                            token, f"t{int(token[1:]) + 1}", f"n{number}", *filter(None, [scope]), client=client
                        )
                        done = await store.rotate("k", asked._replace(repeats=repeats))
                        said.append(done._replace(revoked=tuple(sorted(done.revoked))))
                    case ("end", str(client)):
                        end = await store.end_family("k", client)
                        said.append(end._replace(revoked=tuple(sorted(end.revoked))))
                    case (_, int(before)):
                        await store.set_not_before(NotBefore("client", "app", before), LATER)
                state = await store.read_family("k")
                assert state is not None
                said.append((state.current, state.previous, state.ended, revoked(view)))
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
    assert all(3000 < left - 7200 <= 3601 for left in ends.values()), "two hours longer than an access token lives"
    await store.end_family("k")
    assert 500 < redis_server.command("TTL", "{test}:family:k") <= 601, "as long as a refresh token could have lived"
    assert redis_server.command("EXISTS", "{test}:family:k:live") == 0
    await store.set_not_before(NotBefore("all", "", ISSUED), LATER)
    assert 3000 < redis_server.command("TTL", "{test}:cutoffs") <= 3601
    await store.close()


async def test_a_family_that_ends_in_one_process_is_refused_in_another(redis_server: RedisServer) -> None:
    """By reuse, and by a not-before time; also one that is loaded at the start."""
    first, second = opened(redis_server.url), opened(redis_server.url)
    async with followed(first), followed(second) as view:
        await begin(first)
        await first.rotate("k", asking("t0", "t1", "j1"))
        await first.rotate("k", asking("t0", "t1", repeats=False))
        await eventually(lambda: "j0" in view and "j1" in view, within=2)
        await first.set_not_before(NotBefore("subject", "al ice", ISSUED), LATER)
        await eventually(lambda: view.issued_too_early("any", "al ice", ISSUED), within=2)
        third = opened(redis_server.url)
        async with followed(third) as loaded:
            assert loaded.issued_too_early("any", "al ice", ISSUED)
            assert not loaded.issued_too_early("any", "al ice", ISSUED + 1)
            assert "j0" in loaded


async def test_not_before_times_that_the_server_lost_are_given_back(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    async with followed(store):
        await store.set_not_before(NotBefore("client", "app", ISSUED), LATER)
        redis_server.command("FLUSHALL")
        await eventually(lambda: redis_server.command("HGET", "{test}:cutoffs", "client app") == str(ISSUED).encode())
        assert not await store.open_family("k", FAMILY, "t0", FamilyAccess("j0", LATER), IDLE)


@pytest.mark.parametrize("ahead", [3600, -3600, 0])
async def test_what_a_family_gave_ends_whichever_way_the_clocks_differ(redis_server: RedisServer, ahead: int) -> None:
    """The server's, that of the process that gave it, and that of the one that ends it."""

    def clock() -> float:
        return time.time() - ahead

    def access(jti: str, now: float) -> FamilyAccess:
        return FamilyAccess(jti, int(now) + 660)

    late, right = opened(redis_server.url, clock=clock), opened(redis_server.url)
    family = FAMILY._replace(issued=int(clock()), ends=int(clock()) + 1200)
    async with followed(late) as view, followed(right) as other:
        for number, ending in enumerate((late, right)):
            key = f"k{number}"
            assert await late.open_family(key, family, "t0", access(f"a{number}", clock()), IDLE)
            first = asking("t0", "t1")._replace(access=access(f"b{number}", time.time()))
            assert (await right.rotate(key, first)).outcome is Outcome.ROTATED
            second = asking("t1", "t2")._replace(access=access(f"c{number}", clock()))
            assert (await late.rotate(key, second)).outcome is Outcome.ROTATED
            assert redis_server.command("TTL", f"{{test}}:family:{key}:live") > 600
            end = await ending.end_family(key, "app")
            given = {f"{letter}{number}" for letter in "abc"}
            assert set(end.revoked) == given
            await eventually(lambda: all(jti in view and jti in other for jti in given), within=2)  # noqa: B023
            known = redis_server.command("ZRANGE", "{test}:revoked", 0, -1)
            assert {*map(str.encode, given), family_end(key).encode()} <= set(known)


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_family_lives_as_long_as_the_clock_says_that_opened_it(redis_server: RedisServer, ahead: int) -> None:
    store = opened(redis_server.url, clock=lambda: time.time() - ahead)
    now = int(time.time()) - ahead
    family = FAMILY._replace(issued=now, ends=now + 500)
    await begin(store, "lives", family)
    await begin(store, "over", family._replace(ends=now - 1))
    assert (await store.rotate("over", asking("t0", "t1"))).outcome is Outcome.EXPIRED
    assert (await store.rotate("lives", asking("t0", "t1"))).outcome is Outcome.ROTATED
    state = await store.read_family("lives")
    assert state is not None
    assert state.family == family
    assert abs(state.idle_end - now - IDLE) < 30, "by the clock of who asks"
    assert state.alive(now)
    await store.close()


async def test_families_of_an_older_version_go_on(redis_server: RedisServer) -> None:
    """They have their end in a sidecar's time alone."""
    store = opened(redis_server.url)
    for key, ends in {"lives": LATER, "over": ISSUED - 5}.items():
        await begin(store, key)
        redis_server.command("HDEL", f"{{test}}:family:{key}", "over")
        redis_server.command("HSET", f"{{test}}:family:{key}", "ends", ends, "repeated", "1")
    assert (await store.rotate("over", asking("t0", "t1"))).outcome is Outcome.EXPIRED
    assert (await store.rotate("lives", asking("t0", "t1"))).outcome is Outcome.ROTATED
    assert (await store.rotate("lives", asking("t0", "t1", "j2"))).outcome is Outcome.REPEATED
    assert set((await store.end_family("lives")).revoked) == {"j0", "of-t1", "j2"}
    await store.close()


async def test_an_end_that_the_server_lost_is_an_end(redis_server: RedisServer) -> None:
    """It went back to an older state: who knows better refuses at once, and lets others know."""
    knows, other = opened(redis_server.url), opened(redis_server.url)
    async with followed(knows) as view, followed(other) as others:
        await begin(knows)
        await knows.rotate("k", asking("t0", "t1", "j1"))
        names = ["{test}:family:k", "{test}:family:k:live"]
        kept = {name: redis_server.command("DUMP", name) for name in names}
        for ending in (knows.end_family("k"), knows.end_family("forbidden", forbid=60)):
            await ending
        assert family_end("k") in view, "in this process at once"
        await eventually(lambda: family_end("k") in others and family_end("forbidden") in others, within=2)
        redis_server.command("FLUSHALL")
        for name, data in kept.items():
            redis_server.command("RESTORE", name, 0, data)
        for store in (other, knows):
            done = await store.rotate("k", asking("t1", "t2", "x"))
            assert (done.outcome, done.current) == (Outcome.ENDED, "")
            assert not await store.open_family("forbidden", FAMILY, "t0", FamilyAccess("x", LATER), IDLE)
        assert redis_server.command("ZSCORE", "{test}:revoked", family_end("k")) is not None


@pytest.mark.parametrize("told", [True, False])
async def test_a_process_that_knew_nothing_refuses_what_was_given_back(redis_server: RedisServer, told: bool) -> None:
    """By the set of the server, and by its own view."""
    store = opened(redis_server.url)
    await begin(store)
    await store.revoke(family_end("k"), LATER)
    if told:
        async with followed(store):
            assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.ENDED
    assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.ENDED
    assert await store.rotate("k", asking("t0", "t1", client="other")) == Rotated(Outcome.FOREIGN)
    assert not await store.open_family("k", FAMILY, "t0", FamilyAccess("x", LATER), IDLE)
    await store.close()


async def test_a_not_before_time_that_the_server_lost_ends_families(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    async with followed(store) as view:
        await begin(store)
        kept = redis_server.command("DUMP", "{test}:family:k")
        view.add([(NotBefore("client", "app", ISSUED).entry, LATER)])
        assert not await store.open_family("k2", FAMILY, "t0", FamilyAccess("x", LATER), IDLE)
        ended = await store.rotate("k", asking("t0", "t1", "j1"))
        assert (ended.outcome, ended.family) == (Outcome.ENDED, None)
        # When the process ends the family, it revokes the token that was asked for as well. When it has given the not-before time back to
        # the server in the meantime, the server refuses at once, and that token never was.
        assert ended.revoked in (("j0", "j1"), ("j0",))
        redis_server.command("RESTORE", "{test}:family:k", 0, kept, "REPLACE")
        assert (await store.rotate("k", asking("t0", "t1"))).outcome is Outcome.ENDED


async def test_access_tokens_of_a_family_are_forgotten_when_they_are_over(redis_server: RedisServer) -> None:
    """Not before every clock says so, and not as late as the family."""
    store = opened(redis_server.url)
    now = int(time.time())
    await store.open_family("k", FAMILY._replace(ends=now + 10**6), "t0", FamilyAccess("j0", now - 7300), 10**6)
    for number in range(300):
        access = FamilyAccess(f"j{number}", now - 7300 + number)
        asked = asking(f"t{number}", f"t{number + 1}")._replace(access=access, idle=10**6)
        assert (await store.rotate("k", asked)).outcome is Outcome.ROTATED
    live = "{test}:family:k:live"
    assert 195 < redis_server.command("ZCARD", live) < 250
    assert redis_server.command("TTL", live) <= 201
    assert redis_server.command("TTL", "{test}:family:k") > 999_000
    await store.close()


async def test_grants_that_nobody_uses_do_not_pile_up(redis_server: RedisServer) -> None:
    store = opened(redis_server.url)
    for number in range(MOST_UNUSED + 50):
        await begin(store, f"own{number}", OWN)
    names = redis_server.command("KEYS", "{test}:family:*")
    assert len(names) == 2 * MOST_UNUSED
    assert redis_server.command("ZCARD", "{test}:unused:app") == MOST_UNUSED
    assert 0 < redis_server.command("TTL", "{test}:unused:app") <= IDLE
    await store.rotate("own149", asking("t0", "t1"))
    assert redis_server.command("ZCARD", "{test}:unused:app") == MOST_UNUSED - 1
    assert isinstance(store, RedisStore)
    names = [f"{{test}}:family:own{number}{kind}" for number in (148, 149) for kind in ("", ":live")]
    await store._forget_unused({}, more_keys=names)()
    assert await store.rotate("own148", asking("t0", "t1")) == Rotated(Outcome.UNKNOWN)
    assert (await store.rotate("own149", asking("t1", "t2"))).outcome is Outcome.ROTATED, "it was used meanwhile"
    await store.close()


async def test_a_store_that_is_down_says_so() -> None:
    store = opened(f"redis://127.0.0.1:{free_port()}")
    calls = [
        store.open_family("k", FAMILY, "t0", FamilyAccess("j0", LATER), IDLE), store.rotate("k", asking("t0", "t1")),
        store.end_family("k"), store.read_family("k"), store.set_not_before(NotBefore("all", "", 1), 2),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
    await store.close()
