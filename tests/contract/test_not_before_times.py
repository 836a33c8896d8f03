"""`sidecar tokens revoke --before`: the moment that is written is the one that is kept."""

from pathlib import Path

import pytest
import yaml

from tests.support.command import run
from tests.support.process import configuration
from tests.support.redis import RedisServer


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-02", "2026-01-02 00:00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05"),
        ("2026-01-02T03:04:05.9+01:00", "2026-01-02 02:04:05"),
        ("1700000000", "2023-11-14 22:13:20"),
    ],
)
def test_a_moment_is_kept_and_shown(redis_server: RedisServer, tmp_path: Path, text: str, shown: str) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", store={"url": redis_server.url})))
    result = run("tokens", "revoke", "--config", str(path), "--client", "gone", "--before", text)
    assert result.exit_code == 0
    assert f"revoked everything issued to gone until {shown} UTC" in result.output
    assert "names no client gone" in result.output
    assert redis_server.command("HKEYS", "{sidecar}:cutoffs") == [b"client gone"]
