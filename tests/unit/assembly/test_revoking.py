"""Revocation in a store that processes share, with a real Redis."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sidecar.assembly.keys import token_rules
from sidecar.assembly.revoking import RevokedAccessToken, revoke_before, revoke_presented
from sidecar.config.load import load
from sidecar.config.settings import Settings
from sidecar.core.reasons import Reason, Refused
from sidecar.core.revocations import Cutoff
from tests.support.process import configuration
from tests.support.redis import RedisServer

NOW = int(time.time())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as redis:
        yield redis


@pytest.fixture
def settings(server: RedisServer, tmp_path: Path) -> Settings:
    server.command("FLUSHALL")
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


async def test_a_cutoff_is_kept(settings: Settings, server: RedisServer) -> None:
    await revoke_before(settings, Cutoff("client", "reporting", NOW), NOW)
    assert server.command("HGET", "{sidecar}:cutoffs", "client reporting") == str(NOW).encode()
