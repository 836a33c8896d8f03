"""The store behind real sentinels: failovers, sentinels that are away or wrong, and passwords."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.sentinel import Sentinels
from tests.contract.test_redis_servers import documented_user, use_all
from tests.support.certificates import Authority
from tests.support.members import FUTURE, STALENESS, Member, members, until_done
from tests.support.redis import RedisServer, free_port
from tests.support.topologies import SERVICE, Sentinel, SentinelSet
from tests.support.waiting import eventually

REVOKED = "{test}:revoked"


@pytest.fixture
def own_set() -> Iterator[SentinelSet]:
    """A set that a test may fail over."""
    with SentinelSet() as servers:
        yield servers


async def test_after_a_failover_nothing_that_any_process_knows_is_forgotten(own_set: SentinelSet) -> None:
    async with members(own_set.url) as (first, second):
        await first.store.revoke("replicated", FUTURE)
        old = own_set.primary
        assert old.command("WAIT", 2, 5000) == 2
        for replica in own_set.servers[1:]:
            replica.pause()  # what follows reaches no replica
        await second.store.revoke("known to a process", FUTURE)
        await eventually(lambda: first.knows("replicated", "known to a process"))
        old.kill()
        for replica in own_set.servers[1:]:
            replica.resume()
        await eventually(lambda: own_set.primary is not old)
        begun = time.monotonic()
        await eventually(lambda: first.usable and second.usable)
        assert time.monotonic() - begun < 10
        await until_done(lambda: first.store.revoke("afterwards", FUTURE))
        await eventually(lambda: second.knows("replicated", "known to a process", "afterwards"))
        async with members(own_set.url, 1) as (newcomer,):
            assert newcomer.knows("replicated", "known to a process", "afterwards")
        assert first.said[-1] is second.said[-1] is True


async def test_a_primary_is_left_when_the_sentinels_name_another_one(own_set: SentinelSet) -> None:
    """After an order to fail over, the old primary takes writes for ten more seconds."""
    async with members(own_set.url) as (first, second):
        old = own_set.primary
        await eventually(lambda: old.command("WAIT", 2, 100) == 2)
        own_set.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
        await eventually(lambda: own_set.primary is not old)
        await eventually(lambda: "has become the primary" in " ".join(first.faults))
        assert old.command("ROLE")[0] == b"master"
        await until_done(lambda: first.store.revoke("a", FUTURE))
        assert own_set.primary.command("ZSCORE", REVOKED, "a") is not None
        assert old.command("ZSCORE", REVOKED, "a") is None
        await eventually(lambda: second.knows("a") and first.usable and second.usable)


async def test_a_primary_that_was_demoted_under_open_connections_is_left_at_the_first_refused_write() -> None:
    """Nothing of the write was done, so it is done at the new primary, and its caller notices nothing."""
    with (
        RedisServer() as first,
        RedisServer("--replicaof", f"127.0.0.1 {first.port}") as second,
        Sentinel(first.port, quorum=1, down_after=60000) as before,
        Sentinel(second.port, quorum=1, down_after=60000) as after,
    ):
        named = Sentinels(f"redis+sentinel://127.0.0.1:{before.port}/{SERVICE}", timeout=1)
        async with members(f"redis+sentinel://127.0.0.1:{before.port}/{SERVICE}", 1) as (member,):
            assert await member.store.add("warm", 60)
            second.command("REPLICAOF", "NO", "ONE")
            first.command("REPLICAOF", "127.0.0.1", second.port)
            before.command("SENTINEL", "REMOVE", SERVICE)
            before.command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", second.port, 1)
            assert await member.store.add("written", 60)
            assert second.command("EXISTS", "{test}:written") == 1
        assert (await named.find()).port == second.port
        await named.close()
        assert after.running


async def test_a_server_that_says_it_is_a_replica_is_not_used() -> None:
    """A sentinel names it although it is not the primary (any more)."""
    with (
        RedisServer() as primary,
        RedisServer("--replicaof", f"127.0.0.1 {primary.port}") as replica,
        Sentinel(replica.port, quorum=1, down_after=60000) as sentinel,
    ):
        member = Member(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}")
        await eventually(lambda: bool(member.faults))
        said = "the server is a replica, but was named as the primary"
        assert member.faults[0] == f"127.0.0.1:{replica.port}: {said}"
        assert not member.usable
        await member.close()


@pytest.mark.parametrize("gone", [1, 2])
@pytest.mark.parametrize("end", ["pause", "kill"])
async def test_sentinels_that_are_away_or_silent_do_not_matter_while_one_answers(
    own_set: SentinelSet, gone: int, end: str
) -> None:
    for sentinel in own_set.sentinels[:gone]:
        getattr(sentinel, end)()
    try:
        async with members(own_set.url, 1, timeout=1.0) as (member,):
            await member.store.revoke("a", FUTURE)
            assert member.knows("a")
    finally:
        for sentinel in own_set.sentinels[:gone]:
            if sentinel.running:
                sentinel.resume()


@pytest.mark.parametrize("end", ["pause", "kill"])
async def test_without_any_sentinel_the_connections_that_there_are_go_on(own_set: SentinelSet, end: str) -> None:
    async with members(own_set.url) as (first, second):
        await first.store.revoke("before", FUTURE)
        for sentinel in own_set.sentinels:
            getattr(sentinel, end)()
        until = time.monotonic() + 3 * STALENESS
        number = 0
        while time.monotonic() < until:
            assert first.usable
            assert second.usable
            await first.store.revoke(f"t{number}", FUTURE)
            await eventually(lambda number=number: second.knows(f"t{number}"), within=STALENESS)
            number += 1
        assert first.said == second.said == [True]


async def test_the_majority_of_the_sentinels_decides(sentinel_set: SentinelSet) -> None:
    """One that was cut off from the others names a server that was the primary once."""
    with RedisServer() as past, Sentinel(past.port, quorum=1) as cut_off:
        hosts = [cut_off.port, *(each.port for each in sentinel_set.sentinels[:2])]
        url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in hosts) + f"/{SERVICE}"
        for _ in range(10):
            sentinels = Sentinels(url, timeout=2)
            assert (await sentinels.find()).port == sentinel_set.primary.port
            await sentinels.close()


async def test_without_a_sentinel_the_fault_names_each_of_them() -> None:
    ports = [free_port(), free_port()]
    member = Member(f"redis+sentinel://127.0.0.1:{ports[0]},localhost:{ports[1]}/{SERVICE}")
    await eventually(lambda: bool(member.faults))
    for host in (f"127.0.0.1:{ports[0]}", f"localhost:{ports[1]}"):
        assert f"{host}: no connection (" in member.faults[0]
    with pytest.raises(StoreUnavailable, match="no sentinel answers"):
        await member.store.ping()
    assert member.faults[0] in str(member.store.condition())
    await member.close()


async def test_a_service_that_the_sentinels_do_not_know_is_named(sentinel_set: SentinelSet) -> None:
    member = Member(f"redis+sentinel://{sentinel_set.hosts}/another")
    await eventually(lambda: bool(member.faults))
    assert member.faults[0] == "the sentinels know no primary of another"
    await member.close()


async def test_sentinels_have_a_name_and_password_of_their_own() -> None:
    """With exactly the rights of the documentation."""
    user = "user watcher on >watching resetchannels -@all +auth +ping +client|setname +sentinel|get-master-addr-by-name"
    with SentinelSet(lines=(user,), password="secret") as servers:
        url = f"redis+sentinel://:secret@{servers.hosts}/{SERVICE}/1?sentinel_username=watcher&sentinel_password="
        async with members(f"{url}watching", 1) as (member,):
            await member.store.revoke("a", FUTURE)
            assert (
                servers.primary.command(
                    "EVAL", "redis.call('SELECT', 1) return redis.call('ZCARD', KEYS[1])", 1, REVOKED
                )
                == 1
            )
        wrong = Member(f"{url}wrong")
        await eventually(lambda: bool(wrong.faults))
        assert "refuses the name or password (WRONGPASS" in wrong.faults[0]
        assert "watching" not in wrong.faults[0]
        await wrong.close()


async def test_the_user_of_the_documentation_may_do_all_that_is_needed(own_set: SentinelSet) -> None:
    for server in own_set.servers:
        server.command("ACL", "SETUSER", "sidecar", "reset", *documented_user())
    url = own_set.url.replace("://", "://sidecar:secret@")
    async with members(url, 2) as (first, second):
        await use_all(first.store)
        await eventually(lambda: second.knows("jti"))
    for server in own_set.servers:
        server.command("ACL", "SETUSER", "sidecar", "-role")
    member = Member(url)
    await eventually(lambda: bool(member.faults))
    told = "the user may not run the commands that are needed (NOPERM this user has no permissions to run the 'role' command"
    assert member.faults[0].startswith(f"127.0.0.1:{own_set.primary.port}: {told}")
    await member.close()


async def test_changed_passwords_are_picked_up(own_set: SentinelSet) -> None:
    """Those of the servers and those of the sentinels."""
    now = [own_set.url]
    async with members(own_set.url, 1, renewed=lambda: now[0]) as (member,):
        for server in own_set.servers:
            server.command("CONFIG", "SET", "masterauth", "new")
        for server in own_set.servers:
            server.use_password("new")
        for sentinel in own_set.sentinels:
            sentinel.command("SENTINEL", "SET", SERVICE, "auth-pass", "new")
        for sentinel in own_set.sentinels:
            sentinel.use_password("watching")
        for server in (*own_set.servers, *own_set.sentinels):
            with contextlib.suppress(Exception):
                server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: "refuses the name or password" in " ".join(member.faults))
        now[0] = own_set.url.replace("://", "://:new@") + "?sentinel_password=watching"
        await eventually(lambda: member.said[-1] and member.usable)
        await member.store.revoke("a", FUTURE)


async def test_tls_with_a_client_certificate_to_sentinels_and_servers(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server", "redis"), authority.issue("client", "sidecar")
    options = [
        "--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key), "--tls-ca-cert-file",
        str(authority.ca), "--tls-auth-clients", "yes",
    ]  # fmt: skip
    with RedisServer(*options, tls=True) as primary:
        lines = [f"{name[2:]} {value}" for name, value in zip(options[::2], options[1::2], strict=True)]
        watched = ("tls-replication yes", *lines)
        with Sentinel(primary.tls_port, *watched, quorum=1, tls=True) as sentinel:
            trusting = f"rediss+sentinel://localhost:{sentinel.tls_port}/{SERVICE}?ssl_ca_certs={authority.ca}"
            certified = f"{trusting}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
            async with members(certified, 1) as (member,):
                await member.store.revoke("a", FUTURE)
                assert primary.command("ZCARD", REVOKED) == 1
            without = Member(trusting)
            await eventually(lambda: bool(without.faults))
            assert f"localhost:{sentinel.tls_port}: " in without.faults[0]
            await without.close()
