"""`sidecar tokens`, in this process."""

from pathlib import Path

import pytest
import yaml

from sidecar.assembly.keys import token_rules
from sidecar.config.load import load
from tests.support.command import run
from tests.support.process import configuration
from tests.support.redis import free_port


def test_a_token_in_memory_cannot_be_revoked_from_outside(config: Path) -> None:
    result = run("tokens", "revoke", "--config", str(config), stdin="x")
    assert result.exit_code == 2
    assert "POST /oauth/revoke" in result.output


def test_nothing_is_called_revoked_when_the_store_is_down(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    host = f"127.0.0.1:{free_port()}"
    document = configuration("http://127.0.0.1:1", store={"url": f"redis://{host}", "timeout": "1s"})
    path.write_text(yaml.safe_dump(document))
    result = run("tokens", "revoke", "--config", str(path), stdin="not.a.token")
    assert (result.exit_code, "not a token of ours: malformed_token" in result.output) == (1, True)
    settings = load(path)
    token, _ = token_rules(settings.tokens).issue(
        client_id="other", subject="other", roles=(), scope=(), now=1_800_000_000, jti="j"
    )
    result = run("tokens", "revoke", "--config", str(path), stdin=token)
    said = f"nothing was revoked: {host}: no connection (Connection refused)"
    assert (result.exit_code, said in result.output) == (1, True)
    shown = run("tokens", "inspect", stdin=token)
    assert "not verified: give --config" in shown.output
    assert "1800001800 (2027-01-15 08:30:00 UTC)" in shown.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--client", "a", "--subject", "b"], "one of"),
        (["--client", "a", "--all"], "one of"),
        (["--before", "2026-01-01"], "needs"),
        (["--all", "--before", "2999-01-01"], "future"),
        (["--all", "--before", "yesterday"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "2026-11-24T08:30:00"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "-1"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "\u0663"], "2026-11-24T08:30:00Z"),
        (["--all"], "POST /oauth/revoke"),
    ],
)
def test_what_is_to_be_revoked_must_be_clear(config: Path, arguments: list[str], says: str) -> None:
    result = run("tokens", "revoke", "--config", str(config), *arguments)
    assert result.exit_code == 2
    assert says in result.output
