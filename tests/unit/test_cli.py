"""The command line, in this process; tests/e2e starts it as a process too."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sidecar import __version__
from sidecar.app import token_rules
from sidecar.cli import main
from sidecar.core.secrets import parse_secret_hash
from sidecar.settings import load
from tests.support.process import configuration
from tests.support.redis import free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1")))
    return path


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def test_the_version() -> None:
    assert run("--version").output == f"sidecar, version {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["check-config"],
        ["hash-secret"],
        ["demo"],
        ["tokens"],
        ["tokens", "inspect"],
        ["tokens", "revoke"],
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize(("secret", "scheme"), [("x" * 32, "sha256"), ("hunter2", "scrypt"), ("pass word ", "scrypt")])
def test_a_secret_is_hashed_by_its_length(secret: str, scheme: str) -> None:
    result = run("hash-secret", stdin=secret + "\n")
    assert result.output.startswith(scheme + "$")
    assert parse_secret_hash(result.output.strip()).matches(secret)


def test_a_scheme_can_be_chosen() -> None:
    assert run("hash-secret", "--scheme", "scrypt", stdin="x" * 32).output.startswith("scrypt$")


def test_two_hashes_of_a_secret_differ() -> None:
    assert run("hash-secret", stdin="x" * 32).output != run("hash-secret", stdin="x" * 32).output


def test_no_secret_is_an_error_of_usage() -> None:
    assert run("hash-secret", stdin="\n").exit_code == 2


def test_a_file_without_faults_is_said_to_be_ok(config: Path) -> None:
    result = run("check-config", str(config))
    assert (result.exit_code, result.output) == (0, f"{config}: ok (2 clients, 0 routes)\n")


def test_a_token_in_memory_cannot_be_revoked_from_outside(config: Path) -> None:
    result = run("tokens", "revoke", "--config", str(config), stdin="x")
    assert result.exit_code == 2
    assert "POST /oauth/revoke" in result.output


def test_nothing_is_called_revoked_when_the_store_is_down(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    document = configuration("http://127.0.0.1:1", store={"url": f"redis://127.0.0.1:{free_port()}", "timeout": "1s"})
    path.write_text(yaml.safe_dump(document))
    result = run("tokens", "revoke", "--config", str(path), stdin="not.a.token")
    assert (result.exit_code, "not a token of ours: malformed_token" in result.output) == (1, True)
    settings = load(path)
    token, _ = token_rules(settings.tokens).issue(
        client_id="other", subject="other", roles=(), scope=(), now=1_800_000_000, jti="j"
    )
    result = run("tokens", "revoke", "--config", str(path), stdin=token)
    assert (result.exit_code, "nothing was revoked: no connection" in result.output) == (1, True)
    shown = run("tokens", "inspect", stdin=token)
    assert "not verified: give --config" in shown.output
    assert "1800001800 (2027-01-15 08:30:00 UTC)" in shown.output


def test_the_demo_refuses_a_store_that_is_none() -> None:
    result = run("demo", "--check", "--store", "mysql://x")
    assert result.exit_code == 2
    assert "memory://" in result.output
