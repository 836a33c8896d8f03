"""What the commands share: the options that several of them have, and how they read, print and fail."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])

CONFIG: Final = click.Path(path_type=Path, dir_okay=False)
"""The type of an option or argument that names a file."""
CONFIG_VARIABLE: Final = "SIDECAR_CONFIG"
"""The environment variable that takes the place of `--config`."""
_PATIENCE: Final = 1.0  # seconds before a command says that it is at work


def config_option(text: str, *, required: bool = True) -> Callable[[_F], _F]:
    """The option `--config FILE`; `text` is its help."""
    return click.option(
        "--config", type=CONFIG, required=required, envvar=CONFIG_VARIABLE, show_envvar=True, metavar="FILE", help=text
    )


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
"""The option `--json`."""


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def at_work(what: str) -> Iterator[None]:
    """Say on a terminal what a command is doing, and for how long, when it takes more than a second. Nothing remains of it."""
    if not sys.stderr.isatty():
        yield
        return
    done, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(_PATIENCE):
            click.echo(f"\r{what} … {time.monotonic() - began:.0f} s", err=True, nl=False)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        click.echo("\r\x1b[K", err=True, nl=False)


def load_settings(path: Path, *, now: float | None = None) -> Settings:
    """Read the settings from a configuration file. When the file has faults, print all of them and exit with code 2.

    With `now` (epoch seconds), this also checks the windows of the keys.
    """
    try:
        return load(path, now=now)
    except SettingsError as exc:
        for fault in exc.faults:
            click.echo(fault, err=True)
        click.echo(f"{path}: {counted(len(exc.faults), 'fault')}", err=True)
        sys.exit(2)


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 fault` or `2 faults`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error and exit, with code 1 for a failed command and code 2 for wrong usage or configuration."""
    click.echo(f"sidecar: {message}", err=True)
    sys.exit(code)


def read_line(what: str) -> str:
    """Read the first line of standard input. When it is missing or empty, exit with code 2 and an error that names `what`."""
    lines = [line.strip("\r\n") for line in sys.stdin.readlines()]
    if not lines or not lines[0]:
        fail(f"no {what} on stdin", 2)
    return lines[0]


def read_secret(what: str) -> str:
    """Read a secret. At a terminal, prompt for it twice without echo; otherwise read the first line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(what.capitalize(), hide_input=True, confirmation_prompt=True)
        return answer
    return read_line(what)
