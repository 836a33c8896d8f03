"""`sidecar init`: what it writes is a configuration without faults, and nothing that was there is lost."""

import stat
import subprocess
from pathlib import Path

import click
import pytest

from sidecar.cli.starter import USES
from sidecar.config.load import load
from tests.support.command import run

ANSWERS = ("--upstream", "http://127.0.0.1:3080", "--store", "redis://:canary-1@127.0.0.1:6379/0")


@pytest.mark.parametrize("use", USES)
def test_each_use_gives_a_configuration_that_is_accepted(tmp_path: Path, use: str) -> None:
    result = run("init", str(tmp_path), "--use", use, *ANSWERS)
    assert result.exit_code == 0, result.output
    settings = load(tmp_path / "sidecar.yaml", now=1)
    assert settings.upstream.url == ("http://127.0.0.1:3080",)
    assert settings.store.url.get_secret_value() == ANSWERS[-1]
    assert bool(settings.users) == (use in ("login", "tapdata"))
    assert str(settings.listen.address) == ("0.0.0.0:3030" if use == "kubernetes" else "127.0.0.1:3030")
    assert run("check-config", str(tmp_path / "sidecar.yaml")).exit_code == 0
    text = (tmp_path / "sidecar.yaml").read_text()
    secrets = [path for path in tmp_path.iterdir() if path.name not in ("sidecar.yaml", ".gitignore")]
    assert len(secrets) >= 3
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().strip() not in text + result.output
    assert "canary" not in text + result.output


def test_git_sees_no_secret(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    run("init", str(tmp_path), "--use", "tapdata", *ANSWERS)
    seen = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True
    )
    assert sorted(line.removeprefix("?? ") for line in seen.stdout.splitlines()) == [".gitignore", "sidecar.yaml"]


@pytest.mark.parametrize("name", ["sidecar.yaml", "signing-key.pem", "reporting-secret"])
def test_no_file_is_overwritten_and_none_is_left_half_done(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    result = run("init", str(tmp_path), "--use", "programs", *ANSWERS)
    assert (result.exit_code, f"{name} exists: no file is overwritten" in result.output) == (1, True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_rules_for_git_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("/mine\n")
    assert run("init", str(tmp_path), "--use", "programs", *ANSWERS).exit_code == 0
    assert (tmp_path / ".gitignore").read_text() == "/mine\n"


def test_whoever_has_rules_for_git_is_told_that_they_may_not_cover_the_secrets(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("/mine\n")
    result = run("init", str(tmp_path), "--use", "programs", *ANSWERS)
    assert f"{tmp_path / '.gitignore'} was there: look whether it has Git ignore the secrets" in result.output


@pytest.mark.parametrize("name", ["sidecar.yaml", "signing-key.pem", ".gitignore"])
def test_nothing_is_written_through_a_link_that_leads_nowhere_yet(tmp_path: Path, name: str) -> None:
    folder, elsewhere = tmp_path / "new", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    run("init", str(folder), "--use", "programs", *ANSWERS)
    assert not elsewhere.exists()


@pytest.mark.parametrize("option", ["--upstream", "--issuer", "--store"])
@pytest.mark.parametrize("text", ["http://h/\u00e9", "http://h/\udcff", "http://h\u0085x: y"])
def test_an_answer_that_is_not_ascii_ends_in_no_traceback(tmp_path: Path, option: str, text: str) -> None:
    result = run("init", str(tmp_path / "new"), "--use", "programs", *ANSWERS, option, text)
    assert (result.exit_code, "nothing was written" in result.output) == (2, True)
    assert not (tmp_path / "new").exists()


def test_a_password_of_the_store_may_hold_any_letter(tmp_path: Path) -> None:
    url = "redis://:p\u00e9@127.0.0.1:6379/0"
    result = run("init", str(tmp_path), "--use", "programs", *ANSWERS[:-1], url)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "sidecar.yaml").store.url.get_secret_value() == url


def test_the_url_of_the_next_steps_can_be_pasted(tmp_path: Path) -> None:
    result = run("init", str(tmp_path), "--use", "programs", *ANSWERS, "--issuer", "https://x;id")
    assert "curl -s 'https://x;id/oauth/token' -u" in result.output


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--upstream", "ftp://x", "upstream.url"),
        ("--upstream", 'http://x"\nlisten: 1', "upstream.url"),
        ("--store", "mysql://x", "store.url"),
        ("--issuer", "not an url", "tokens.issuer"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_and_nothing_is_written(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    result = run("init", str(tmp_path / "new"), "--use", "programs", *ANSWERS, option, value)
    assert (result.exit_code, said in result.output) == (2, True)
    assert not (tmp_path / "new").exists()


def test_without_a_terminal_the_missing_options_are_named(tmp_path: Path) -> None:
    result = run("init", str(tmp_path), "--use", "programs")
    assert (result.exit_code, "give --upstream, --store" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("typed", "listens", "store"),
    [
        ("1\n\n\n", "127.0.0.1", "memory://"),
        ("3\n\n\n", "0.0.0.0", "redis://redis:6379/0"),
        ("kubernetes\n\nredis://r:1/0\n", "0.0.0.0", "redis://r:1/0"),
    ],
)
def test_at_a_terminal_three_questions_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, listens: str, store: str
) -> None:
    monkeypatch.setattr("sidecar.cli.init.asks", lambda: True)
    result = run("init", str(tmp_path), stdin=typed)
    assert result.exit_code == 0, result.output
    assert result.output.count("?") == 3
    settings = load(tmp_path / "sidecar.yaml")
    assert (settings.listen.address.host, settings.store.url.get_secret_value()) == (listens, store)


def test_a_question_is_asked_again_when_its_answer_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.cli.init.asks", lambda: True)
    typed = "5\nprogram\nlogin\nlocalhost:8000\nhttp://localhost:8000\nlocalhost:6379\nmemory://\n"
    result = run("init", str(tmp_path), stdin=typed)
    assert result.exit_code == 0, result.output
    assert result.output.count("Write a number from 1 to 4, or a name of the list.") == 2
    assert "write an address such as http://127.0.0.1:3080" in result.output
    assert "write memory://, redis://HOST:PORT/DB" in result.output
    assert load(tmp_path / "sidecar.yaml").upstream.url == ("http://localhost:8000",)


@pytest.mark.parametrize(("issuer", "told"), [((), True), (("--issuer", "https://api.example.org"), False)])
def test_the_issuer_that_was_not_asked_for_is_a_next_step(tmp_path: Path, issuer: tuple[str, ...], told: bool) -> None:
    result = run("init", str(tmp_path), "--use", "kubernetes", *ANSWERS, *issuer)
    assert (result.exit_code, "as tokens.issuer" in result.output) == (0, told)


def test_the_next_steps_can_be_pasted_in_a_folder_with_a_space(tmp_path: Path) -> None:
    result = run("init", str(tmp_path / "my api"), "--use", "programs", *ANSWERS)
    (command,) = [line.strip() for line in result.output.splitlines() if "check-config" in line]
    assert command == f"sidecar check-config '{tmp_path}/my api/sidecar.yaml'"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("init", str(tmp_path / "file" / "x"), "--use", "programs", *ANSWERS)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit | click.exceptions.Exit)
