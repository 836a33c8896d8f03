"""`sidecar completion`: the scripts are for real shells, and offer what is there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import run


def offered(*words: str, **environment: str) -> list[str]:
    """What bash offers in the place of the last word."""
    variables = {
        **os.environ,
        **environment,
        "_SIDECAR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["sidecar", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = "from sidecar.cli import main; main(prog_name='sidecar')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=30
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_options_and_clients_are_offered(registered: Path) -> None:
    assert {"serve", "demo", "doctor"} <= set(offered(""))
    assert "--json" in offered("clients", "list", "--")
    assert offered("clients", "show", "--config", str(registered), "w") == ["warehouse"]
    assert offered("clients", "show", "", SIDECAR_CONFIG=str(registered)) == ["reporting", "warehouse", "app", "hs"]
    assert offered("tokens", "revoke", "--config", str(registered), "--client", "a") == ["app"]


@pytest.mark.parametrize("text", ["{", "clients: [1, {client_id: 2}, {}]", ""])
def test_a_broken_file_offers_no_clients(tmp_path: Path, text: str) -> None:
    (tmp_path / "sidecar.yaml").write_text(text)
    assert offered("clients", "show", "--config", str(tmp_path / "sidecar.yaml"), "") == []
    assert offered("clients", "show", "--config", str(tmp_path / "none.yaml"), "") == []


@pytest.mark.parametrize(
    ("shell", "variable", "path"),
    [
        ("bash", "XDG_DATA_HOME", "bash-completion/completions/sidecar"),
        ("zsh", "XDG_DATA_HOME", "zsh/site-functions/_sidecar"),
        ("fish", "XDG_CONFIG_HOME", "fish/completions/sidecar.fish"),
    ],
)
def test_the_script_is_written_to_where_the_shell_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, variable: str, path: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    printed, written = run("completion", shell), run("completion", "--install")
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert (tmp_path / path).read_text() == printed.output
    assert str(tmp_path / path) in written.output
    assert run("completion", "--install").exit_code == 0, "an update may replace it"
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(tmp_path / path)], check=True)


def test_without_a_folder_of_its_own_the_home_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("completion", "bash", "--install").exit_code == 0
    assert (tmp_path / ".local/share/bash-completion/completions/sidecar").exists()


def test_another_shell_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = run("completion")
    assert (result.exit_code, "bash, zsh, fish" in result.output) == (2, True)


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    result = run("completion", "bash", "--install")
    assert (result.exit_code, "cannot be written: " in result.output) == (1, True)
