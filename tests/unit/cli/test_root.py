"""The command itself, in this process; tests/e2e starts it as a process too."""

import pytest

from sidecar import __version__
from tests.support.command import run


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
        ["clients"],
        ["clients", "list"],
        ["clients", "show"],
        ["clients", "new-secret"],
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5
