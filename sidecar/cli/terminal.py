"""Helpers of all commands: they read a configuration file or standard input, or exit with an error."""

import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings

CONFIG: Final = click.Path(path_type=Path, dir_okay=False)
"""The type of an option or argument that names a file."""


def load_settings(path: Path, *, now: float | None = None) -> Settings:
    """Read the settings from a configuration file. When the file has faults, print all of them and exit with code 2.

    With `now` (epoch seconds), this also checks the windows of the keys.
    """
    try:
        return load(path, now=now)
    except SettingsError as exc:
        for fault in exc.faults:
            click.echo(fault, err=True)
        count = len(exc.faults)
        click.echo(f"{path}: {count} fault{'s' if count > 1 else ''}", err=True)
        sys.exit(2)


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
