"""What the commands have in common."""

import io
from pathlib import Path

import pytest

from sidecar.cli import terminal
from sidecar.cli.terminal import at_work, fail, load_settings, read_line, read_secret


@pytest.mark.parametrize(("stdin", "line"), [("a", "a"), ("a\r\nb\n", "a"), (" a \n", " a ")])
def test_the_first_line_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch, stdin: str, line: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin, newline=""))
    assert read_line("token") == line
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin, newline=""))
    assert read_secret("secret") == line


@pytest.mark.parametrize("stdin", ["", "\n", "\r\n", "\nsecond\n"])
def test_an_empty_first_line_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    with pytest.raises(SystemExit) as exit_info:
        read_line("token")
    assert (exit_info.value.code, capsys.readouterr().err) == (2, "sidecar: no token on stdin\n")


def test_a_failure_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        fail("it broke")
    assert (exit_info.value.code, capsys.readouterr().err) == (1, "sidecar: it broke\n")


def test_every_fault_of_a_configuration_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text("listen: nowhere\nstore: {url: mysql://x}\n")
    with pytest.raises(SystemExit) as exit_info:
        load_settings(path)
    *faults, last = capsys.readouterr().err.splitlines()
    assert (exit_info.value.code, last) == (2, f"{path}: {len(faults)} faults")
    assert {fault.split(":")[0] for fault in faults} >= {"listen", "store.url"}


def test_long_work_is_told_on_a_terminal_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "_PATIENCE", 0.01)
    with at_work("looking"):
        pass
    assert capsys.readouterr().err == "", "stderr is no terminal here"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    said = ""
    with at_work("looking"):
        while "looking … 0 s" not in said:
            said += capsys.readouterr().err
    assert capsys.readouterr().err.endswith("\r\x1b[K")
