"""The command itself, in this process; tests/e2e starts it as a process too."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sidecar import __version__
from sidecar.cli import main
from tests.support.command import run


def test_the_version() -> None:
    assert run("--version").output == f"sidecar, version {__version__}\n"


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group below a group, with the words that call it."""
    yield words, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


EVERY = dict(commands())


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


def test_every_option_has_help() -> None:
    unexplained = {
        (*words, option.name)
        for words, command in EVERY.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    }
    assert unexplained == {("keys", "generate", "alg")}


def test_every_command_that_needs_a_configuration_takes_it_from_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDECAR_CONFIG", str(config))
    options = [option for command in EVERY.values() for option in command.params if "--config" in option.opts]
    assert len(options) >= 10
    assert {option.envvar for option in options} == {"SIDECAR_CONFIG"}
    for words in (("check-config",), ("clients", "list"), ("keys", "list")):
        assert run(*words).exit_code == 0


def test_every_listing_can_be_read_by_a_machine(config: Path) -> None:
    listings = {("check-config",), ("clients", "list"), ("clients", "show"), ("keys", "list"), ("tokens", "inspect"),
                ("reload",), ("roll",), ("doctor",), ("proxy",)}  # fmt: skip
    assert {
        words for words, command in EVERY.items() if any("--json" in option.opts for option in command.params)
    } == listings
    assert [each["client_id"] for each in json.loads(run("clients", "list", "--json", "--config", str(config)).stdout)]
    assert json.loads(run("keys", "list", "--json", "--config", str(config)).stdout)[0] == {
        "kid": "k1", "alg": "HS256", "role": "signs", "not_before": None, "not_after": None,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "coloured"), [(None, True), ("", True), ("1", False)])
def test_colours_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, value: str | None, *, coloured: bool) -> None:
    """By NO_COLOR with any value (no-color.org)."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    with click.Context(main, color=True) as context:
        context.invoke(main.callback or main)
        assert (context.color is not False) == coloured


def test_a_command_beside_the_sidecar_needs_little() -> None:
    """A container has memory for `sidecar drain` beside the sidecar itself: it imports no library that it does not use."""
    code = "import sys; from sidecar.cli import main; main.get_command(None, 'drain'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert not {"aiohttp", "redis", "uvloop", "prometheus_client", "jinja2"} & set(done.stdout.split())


def test_an_unknown_command_is_wrong_usage() -> None:
    result = run("nonsense")
    assert (result.exit_code, "No such command 'nonsense'" in result.output) == (2, True)
