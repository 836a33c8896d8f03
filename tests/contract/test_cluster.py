"""The store in a real Cluster: failovers, moving slots, partitions, and what each node holds."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.oauth.refresh_tokens import MOST_UNUSED, Family, FamilyAccess, Outcome, Rotation, access_id
from sidecar.core.partitions import partition_prefixes, place_of_token, slot_of
from sidecar.core.ports import StoreUnavailable
from sidecar.core.revocations import NotBefore
from sidecar.core.throttling import Budget, Rate
from tests.contract.test_redis_servers import documented_user, use_all
from tests.support.certificates import Authority
from tests.support.members import FUTURE, Member, members, until_done
from tests.support.redis import RedisServer, free_port
from tests.support.topologies import ClusterSet
from tests.support.waiting import eventually

PREFIXES = partition_prefixes("{test}", 16)


@pytest.fixture
def own_cluster() -> Iterator[ClusterSet]:
    """A Cluster that a test may break."""
    with ClusterSet() as servers:
        yield servers


def prefix_of(name: str) -> str:
    return PREFIXES[place_of_token(name, 16)]


def held(cluster: ClusterSet, prefix: str) -> set[str]:
    """The revocations in one partition."""
    key = f"{prefix}:revoked"
    return {name.decode() for name in cluster.primary_of(key).command("ZRANGE", key, 0, -1)}


async def test_after_a_failover_nothing_that_any_process_knows_is_forgotten(own_cluster: ClusterSet) -> None:
    names = [f"t{number:03}" for number in range(0, 1000, 7)]
    async with members(own_cluster.url) as (first, second):
        await asyncio.gather(*(first.store.revoke(name, FUTURE) for name in names))
        await eventually(lambda: second.knows(*names))
        victim = own_cluster.servers[0]
        victim.kill()
        begun = time.monotonic()
        await eventually(lambda: first.said[-1:] == [False], within=20)
        await eventually(lambda: first.said[-1] and second.said[-1] and first.usable and second.usable, within=20)
        assert time.monotonic() - begun < 15
        for name in ("a" * 8, "b" * 8, "c" * 8, "d" * 8):
            await until_done(lambda name=name: first.store.revoke(name, FUTURE))
        await eventually(lambda: second.knows("a" * 8, "d" * 8))
        async with members(own_cluster.url, 1) as (newcomer,):
            assert newcomer.knows(*names, "a" * 8)


async def test_a_replica_that_is_made_primary_by_the_operator_is_followed(own_cluster: ClusterSet) -> None:
    """MOVED: what was refused is done at the right node, and its caller notices nothing."""
    async with members(own_cluster.url, 1, max_staleness=5.0) as (member,):
        assert await member.store.add("warm", 60)
        for replica in own_cluster.servers[3:]:
            replica.command("CLUSTER", "FAILOVER")
        await eventually(
            lambda: {each.port for each in own_cluster.primaries} == {each.port for each in own_cluster.servers[3:]}
        )
        assert all(await asyncio.gather(*(member.store.add(f"k{number}", 60) for number in range(100))))
        await member.store.revoke("a", FUTURE)


async def test_a_slot_that_moves_to_another_node_takes_its_state_along(own_cluster: ClusterSet) -> None:
    name = "moving"
    prefix = prefix_of(name)
    slot = slot_of(prefix[1:-1])
    async with members(own_cluster.url) as (first, second):
        await first.store.revoke(name, FUTURE)
        source = own_cluster.primary_of(f"{prefix}:x")
        target = next(each for each in own_cluster.servers[:3] if each is not source)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", own_cluster.id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", own_cluster.id_of(target))
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            await asyncio.sleep(0)
        await eventually(lambda: "a slot of the Cluster is being moved" in " ".join(first.faults))
        for node in (target, source, *own_cluster.servers[:3]):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", own_cluster.id_of(target))
        await eventually(lambda: first.usable and second.usable and first.said[-1] and second.said[-1])
        await until_done(lambda: first.store.revoke(name + "2", FUTURE))
        assert prefix_of(name + "2") == prefix
        await eventually(lambda: second.knows(name, name + "2"))
        assert held(own_cluster, prefix) == {name, name + "2"}


async def test_each_node_holds_a_part(cluster_set: ClusterSet) -> None:
    async with members(cluster_set.url, 1) as (member,):
        revoked = [f"{number:05}" for number in range(0, 99999, 97)]
        for start in range(0, len(revoked), 50):  # what waits for a connection has no more time than any other
            await asyncio.gather(*(member.store.revoke(jti, FUTURE) for jti in revoked[start : start + 50]))
        for start in range(0, 300, 50):
            await asyncio.gather(*(member.store.put(f"code:{start + number}", "x", 60) for number in range(50)))
        for server in cluster_set.primaries:
            assert server.command("DBSIZE") > 60
        sets = [held(cluster_set, prefix) for prefix in PREFIXES]
        assert all(10 < len(each) < 200 for each in sets)


async def test_a_family_its_end_and_its_access_tokens_are_in_one_partition(cluster_set: ClusterSet) -> None:
    async with members(cluster_set.url) as (first, second):
        for number in range(20):
            key = f"{number * 7919:04x}" + "f" * 60
            family = Family("c", "s", (), ("a",), int(time.time()), FUTURE)
            jti = access_id(key, "unique")
            assert await first.store.open_family(key, family, "t0", FamilyAccess(jti, FUTURE), 60)
            assert (await first.store.end_family(key)).revoked == (jti,)
            await eventually(lambda jti=jti: second.knows(jti))
            assert {jti, f" family 0 {key}"} <= held(cluster_set, prefix_of(key))
            assert prefix_of(jti) == prefix_of(key)


async def test_a_node_that_lost_its_data_gets_back_what_belongs_to_it(own_cluster: ClusterSet) -> None:
    """And not what belongs to the others."""
    names = [f"{number:05}" for number in range(0, 99999, 997)]
    async with members(own_cluster.url) as (first, second):
        await asyncio.gather(*(first.store.revoke(name, FUTURE) for name in names))
        await first.store.set_not_before(NotBefore("client", "gone", 5), FUTURE)
        await eventually(lambda: second.knows(*names))
        before = {prefix: held(own_cluster, prefix) for prefix in PREFIXES}
        own_cluster.servers[1].command("FLUSHALL")
        await eventually(lambda: {prefix: held(own_cluster, prefix) for prefix in PREFIXES} == before, within=20)
        assert set().union(*before.values()) == {*names, " client 5 gone"}
        await eventually(lambda: first.usable and second.usable)


async def test_a_not_before_time_counts_only_when_every_partition_has_it(own_cluster: ClusterSet) -> None:
    async with members(own_cluster.url, 1) as (member,):
        await member.store.set_not_before(NotBefore("client", "c", 1000), FUTURE)
        for prefix in PREFIXES:
            key = f"{prefix}:cutoffs"
            assert own_cluster.primary_of(key).command("HGETALL", key) in (
                {b"client c": b"1000"},
                [b"client c", b"1000"],
            )
        own_cluster.servers[2].pause()
        with pytest.raises(StoreUnavailable):
            await member.store.set_not_before(NotBefore("client", "d", 1000), FUTURE)
        own_cluster.servers[2].resume()


async def test_without_one_node_the_view_is_not_used(own_cluster: ClusterSet) -> None:
    """Nobody knows what that node would say."""
    for replica in own_cluster.servers[3:]:
        replica.kill()
    async with members(own_cluster.url, 1) as (member,):
        own_cluster.servers[0].kill()
        await eventually(lambda: not member.usable)
        assert member.said == [True, False]
        own_cluster.servers[0].start()  # empty, and with its part of the slots
        await eventually(lambda: member.usable, within=20)


async def test_budgets_of_several_partitions_are_taken_from_together(cluster_set: ClusterSet) -> None:
    async with members(cluster_set.url, 1) as (member,):
        budgets = [Budget(f"throttle:{number}", Rate(number + 1, 60 * (number + 1))) for number in range(5)]
        for turn in range(3):
            taken = [each.taken for each in await member.store.consume(budgets)]
            assert taken == [number >= turn for number in range(5)]


async def test_each_partition_keeps_the_newest_unused_grants(cluster_set: ClusterSet) -> None:
    own = Family("c", "c", (), ("a",), int(time.time()), FUTURE)
    async with members(cluster_set.url, 1) as (member,):
        for number in range(MOST_UNUSED + 2):
            key = f"samex{number:03}"
            assert await member.store.open_family(key, own, "t0", FamilyAccess(access_id(key, "j"), FUTURE), 60)
        for number, outcome in ((0, Outcome.UNKNOWN), (1, Outcome.UNKNOWN), (2, Outcome.ROTATED)):
            key = f"samex{number:03}"
            asked = Rotation("c", "t0", "t1", (), FamilyAccess(access_id(key, "k"), FUTURE), 10, 60)
            assert (await member.store.rotate(key, asked)).outcome is outcome


@pytest.mark.parametrize("others", [8, 32])
async def test_another_number_of_partitions_is_refused_before_anything_is_written(
    cluster_set: ClusterSet, others: int
) -> None:
    async with members(cluster_set.url, 1) as (member,):
        await member.store.revoke("a", FUTURE)
        other = Member(cluster_set.url, partitions=others)
        await eventually(lambda: bool(other.faults))
        assert other.faults[0].startswith(
            f"the data in Redis has 16 partitions, and store.partitions is {others}: set it to 16"
        )
        assert not other.usable
        for name in ("a", "b", "c", "d", "e"):
            if place_of_token(name, others) < 16:
                with pytest.raises(StoreUnavailable, match="16 partitions"):
                    await other.store.revoke(name, FUTURE)
        with pytest.raises(StoreUnavailable, match="16 partitions"):
            await other.store.set_not_before(NotBefore("all", "", 5), FUTURE)
        await other.close()
        assert member.usable


async def test_the_user_of_the_documentation_may_do_all_that_is_needed(own_cluster: ClusterSet) -> None:
    user = [word.replace("~{test}:*", "~{test-*}:*") for word in documented_user()]
    for server in own_cluster.servers:
        server.command("ACL", "SETUSER", "sidecar", "reset", *user)
    async with members(own_cluster.url.replace("://", "://sidecar:secret@"), 2) as (first, second):
        await use_all(first.store)
        await eventually(lambda: second.knows("jti"))
        own_cluster.flush()
        await eventually(lambda: held(own_cluster, prefix_of("jti")) >= {"jti"})
        assert first.said[0] is second.said[0] is True


async def test_changed_passwords_are_picked_up(own_cluster: ClusterSet) -> None:
    now = [own_cluster.url]
    async with members(own_cluster.url, 1, renewed=lambda: now[0]) as (member,):
        for server in own_cluster.servers:
            server.command("CONFIG", "SET", "masterauth", "new")
            server.use_password("new")
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: re.search("refuses the name or password", " ".join(member.faults)) is not None)
        now[0] = own_cluster.url.replace("://", "://:new@")
        await eventually(lambda: member.said[-1] and member.usable)
        await member.store.revoke("a", FUTURE)


async def test_connections_are_bounded(cluster_set: ClusterSet) -> None:
    """One reader and at most eight others for each partition."""
    before = sum(len(each.client().client_list(_type="normal")) for each in cluster_set.primaries)
    async with members(cluster_set.url, 1, timeout=10.0) as (member,):
        await asyncio.gather(*(member.store.put(f"k{number}", "x" * 100, 60) for number in range(2000)))
        used = sum(len(each.client().client_list(_type="normal")) for each in cluster_set.primaries) - before
        assert 32 <= used <= 16 * 9 + 3


async def test_nodes_are_found_from_any_that_answers(cluster_set: ClusterSet) -> None:
    replica = cluster_set.servers[4]
    async with members(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{replica.port}", 1) as (member,):
        await member.store.revoke("a", FUTURE)


async def test_faults_name_the_node_and_what_it_says(redis_server: RedisServer) -> None:
    """A server that is no node, and one that is not there."""
    port = free_port()
    for place, said in ((redis_server.port, "cluster support disabled"), (port, "no connection (")):
        member = Member(f"redis+cluster://127.0.0.1:{place}")
        await eventually(lambda member=member: bool(member.faults))
        assert f"127.0.0.1:{place}: " in member.faults[0]
        assert said in member.faults[0]
        assert len(member.said) == 1
        await member.close()


async def test_a_node_in_the_place_of_a_server_says_what_to_write(cluster_set: ClusterSet) -> None:
    ports = {each.port for each in cluster_set.primaries}
    member = Member(f"redis://127.0.0.1:{min(ports)}/0")
    try:
        await eventually(lambda: bool(member.faults) or member.usable)
        wrong = [each for each in member.faults if "a node of a Cluster" in each]
        assert wrong or member.usable  # it has the slot by chance
    finally:
        await member.close()


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server", "redis"), authority.issue("client", "sidecar")
    options = [
        "--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key), "--tls-ca-cert-file",
        str(authority.ca), "--tls-auth-clients", "yes", "--tls-cluster", "yes", "--tls-replication", "yes",
    ]  # fmt: skip
    with ClusterSet(*options, tls=True) as cluster:
        trusting = f"{cluster.tls_url}?ssl_ca_certs={authority.ca}"
        certified = f"{trusting}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
        async with members(certified, 1) as (member,):
            await member.store.revoke("a", FUTURE)
        without = Member(trusting)
        await eventually(lambda: bool(without.faults))
        await without.close()
