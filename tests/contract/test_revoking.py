"""assembly.revoking: what an operator revokes in a store that processes share."""

import time
from pathlib import Path

import pytest
import yaml

from sidecar.assembly.keys import successor_keys, token_rules
from sidecar.assembly.revoking import (
    RevokedAccessToken,
    RevokedFirst,
    RevokedGrant,
    revoke_before,
    revoke_presented,
)
from sidecar.config.load import load
from sidecar.config.settings import Settings
from sidecar.core.digests import digest
from sidecar.core.oauth.refresh_tokens import (
    Family,
    FamilyAccess,
    family_key,
    first_access_id,
    first_token,
    new_token,
    of_client,
)
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.core.revocations import NotBefore
from sidecar.stores import open_store
from tests.support.process import configuration
from tests.support.redis import RedisServer

NOW = int(time.time())
GRANT = 22 * "A"


def opened(server: RedisServer) -> Store:
    """The store as a sidecar has it that issues tokens."""
    return open_store(
        server.url, prefix="{sidecar}", timeout=2, max_staleness=5, clock=time.time, monotonic=time.monotonic,
        emit=lambda _: None,
    )  # fmt: skip


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def settings(server: RedisServer, tmp_path: Path) -> Settings:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", store={"url": server.url})))
    return load(path)


async def test_an_access_token_is_revoked_by_its_id(settings: Settings, server: RedisServer) -> None:
    token, _ = token_rules(settings.tokens).issue(
        client_id="reporting", subject="reporting", roles=(), scope=(), now=NOW, jti="j"
    )
    assert await revoke_presented(settings, token, NOW) == RevokedAccessToken("j", "reporting")
    assert server.command("ZRANGE", "{sidecar}:revoked", 0, -1) == [b"j"]


async def test_what_the_sidecar_did_not_issue_is_refused(settings: Settings, server: RedisServer) -> None:
    with pytest.raises(Refused) as refused:
        await revoke_presented(settings, "not.a.token", NOW)
    assert refused.value.reason is Reason.MALFORMED_TOKEN
    assert not server.command("EXISTS", "{sidecar}:revoked")


async def test_a_not_before_time_is_kept(settings: Settings, server: RedisServer) -> None:
    await revoke_before(settings, NotBefore("client", "reporting", NOW), NOW)
    assert server.command("HGET", "{sidecar}:cutoffs", "client reporting") == str(NOW).encode()


async def test_a_refresh_token_is_revoked_with_its_grant(settings: Settings, server: RedisServer) -> None:
    token, family = new_token(GRANT, bytes(32)), Family("reporting", "reporting", (), (), NOW, NOW + 60)
    store = opened(server)
    assert await store.open_family(family_key(token) or "", family, digest(token), FamilyAccess("j0", NOW + 60), 60)
    await store.close()
    assert await revoke_presented(settings, token, NOW) == RevokedGrant(1)
    assert b"j0" in server.command("ZRANGE", "{sidecar}:revoked", 0, -1)


async def test_a_forgotten_refresh_token_has_at_least_its_first_access_token_revoked(
    settings: Settings, server: RedisServer
) -> None:
    token = first_token(GRANT, of_client("reporting"), successor_keys(settings.tokens)[0])
    jti = first_access_id(GRANT)
    assert await revoke_presented(settings, token, NOW) == RevokedFirst(jti)
    assert server.command("ZRANGE", "{sidecar}:revoked", 0, -1) == [jti.encode()]


async def test_a_refresh_token_that_nobody_knows_is_refused(settings: Settings, server: RedisServer) -> None:
    with pytest.raises(Refused) as refused:
        await revoke_presented(settings, new_token(GRANT, bytes(32)), NOW)
    assert refused.value.reason is Reason.REFRESH_EXPIRED
    assert not server.command("EXISTS", "{sidecar}:revoked")
