"""Servers that are far away, that swallow packets, that restrict their user, or whose password changes."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from sidecar.core.oauth.refresh_tokens import Family, FamilyAccess, Rotation
from sidecar.core.ports import StoreUnavailable
from sidecar.core.throttling import Rate
from tests.contract.test_redis_feed import FUTURE, Node, nodes
from tests.support.redis import RedisServer
from tests.support.switch import Switch
from tests.support.waiting import eventually

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"


async def test_a_server_that_is_far_away_is_reached(redis_server: RedisServer) -> None:
    """One round trip fits into the timeout of a command. The many of a new connection do not."""
    with Switch(redis_server.port, delay=0.15) as switch:
        node = Node(switch.url, 10)  # with 0.5 s for a command
        await eventually(lambda: node.usable, within=20)
        await node.store.revoke("a", FUTURE)
        assert node.knows("a")
        await node.close()


async def test_connections_that_lead_nowhere_cost_one_request_and_not_each_one(redis_server: RedisServer) -> None:
    """A firewall has forgotten all of them, and says nothing."""
    with Switch(redis_server.port) as switch:
        async with nodes(switch.url, 1, staleness=60) as (node,):
            await asyncio.gather(*(node.store.get(f"x{number}") for number in range(20)))
            switch.strand()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await node.store.add("first", 60)
            begun = time.monotonic()
            for number in range(20):
                assert await node.store.add(f"then{number}", 60)
            assert time.monotonic() - begun < 0.5 * 20, "each waited for the timeout"


async def use_all(store: object) -> None:
    """Every command that a sidecar ever sends."""
    assert await store.add("k", 60)
    await store.put("kind:a", "v", 60)
    assert await store.get("kind:a") == "v"
    assert await store.pop("kind:a") == "v"
    await store.delete("kind:a")
    await store.ping()
    family = Family("c", "s", (), ("a",), int(time.time()), FUTURE)
    assert await store.open_family("f", family, "t0", FamilyAccess("j0", FUTURE), 60)
    asked = Rotation("c", "t0", "t1", (), FamilyAccess("j1", FUTURE), 10, 60)
    assert (await store.rotate("f", asked)).family == family
    assert await store.read_family("f") is not None
    await store.end_family("f")
    await store.consume([("budget:x", Rate(2, 60))])
    await store.revoke("jti", FUTURE)


def documented_user() -> list[str]:
    """The words of the ACL that the documentation gives."""
    match = re.search(r"^ACL SETUSER sidecar (.*)$", GUARANTEES.read_text(), re.MULTILINE)
    assert match
    return match[1].replace("<password>", "secret").replace("{sidecar}", "{test}").split()


async def test_the_user_of_the_documentation_may_do_all_that_is_needed(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "sidecar", "reset", *documented_user())
    url = redis_server.url.replace("redis://", "redis://sidecar:secret@")
    async with nodes(url, 2) as (first, second):
        await use_all(first.store)
        await eventually(lambda: second.knows("jti"))
        redis_server.command("FLUSHALL")
        await eventually(lambda: redis_server.command("ZSCORE", "{test}:revoked", "jti") is not None)
        assert first.said == second.said == [True]


@pytest.mark.parametrize(
    "command", ["zadd", "hmget", "zremrangebyscore", "xread", "zscan", "getdel", "hset", "evalsha"]
)
async def test_a_user_who_lacks_a_command_is_told_so_at_the_start(redis_server: RedisServer, command: str) -> None:
    """Not by the first revocation that fails."""
    redis_server.command("ACL", "SETUSER", "sidecar", "reset", *documented_user(), f"-{command}")
    node = Node(redis_server.url.replace("redis://", "redis://sidecar:secret@"))
    await eventually(lambda: node.said == [False])
    assert not node.usable
    detail = str(node.events[0])
    assert command in detail or command == "evalsha", detail
    assert "may not run" in detail
    redis_server.command("ACL", "SETUSER", "sidecar", f"+{command}")
    await eventually(lambda: node.usable)
    await node.close()


async def test_a_password_that_was_changed_is_asked_for_again() -> None:
    with RedisServer(password="first-password") as server:
        now = [server.url]
        node = Node(server.url, renewed=lambda: now[0])
        await eventually(lambda: node.usable)
        server.command("CONFIG", "SET", "requirepass", "second-password")
        server._password = "second-password"
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: node.said == [True, False])
        await eventually(lambda: "refuses the name or password" in str(node.events[-1]))
        now[0] = server.url
        await eventually(lambda: node.said == [True, False, True])
        await node.store.revoke("a", FUTURE)
        await node.close()
