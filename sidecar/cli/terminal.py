"""Functions that the commands share: they read a configuration file and standard input, and end with an error."""

import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings

CONFIG: Final = click.Path(path_type=Path, dir_okay=False)
"""The type of an option or argument that names a file."""


def load_settings(path: Path, *, now: float | None = None) -> Settings:
    """Load a configuration file. Prints every fault and exits with code 2 if there are any. With `now` (epoch seconds), the
    windows of the keys are checked too."""
    try:
        return load(path, now=now)
    except SettingsError as exc:
        for fault in exc.faults:
            click.echo(fault, err=True)
        count = len(exc.faults)
        click.echo(f"{path}: {count} fault{'s' if count > 1 else ''}", err=True)
        sys.exit(2)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error and exit: code 1 for a command that failed, 2 for wrong usage or configuration."""
    click.echo(f"sidecar: {message}", err=True)
    sys.exit(code)


def read_line(what: str) -> str:
    """Read the first line of standard input. Exits with code 2 if it is missing or empty; the message names `what`."""
    lines = [line.strip("\r\n") for line in sys.stdin.readlines()]
    if not lines or not lines[0]:
        fail(f"no {what} on stdin", 2)
    return lines[0]


def read_secret(what: str) -> str:
    """Read a secret: at a terminal by prompting twice without echo, else from the first line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(what.capitalize(), hide_input=True, confirmation_prompt=True)
        return answer
    return read_line(what)
