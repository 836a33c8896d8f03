"""The `sidecar` command: its version, and the groups and commands under it.

A command is imported when it is called: `sidecar drain`, which a container runs beside the sidecar itself, needs neither
aiohttp nor the client of Redis.

Exit codes: 0; 1 (failed); 2 (usage or configuration).
"""

import importlib
import os
from typing import Final

import click

from sidecar import __version__
from sidecar.runtime.descriptors import occupy_standard_descriptors

_COMMANDS: Final = {
    "check-config": ("serve", "check_config"),
    "clients": ("clients", "clients"),
    "completion": ("completion", "completion"),
    "config": ("config", "config"),
    "demo": ("serve", "demo"),
    "doctor": ("doctor", "doctor"),
    "drain": ("running", "drain"),
    "hash-password": ("secrets", "hash_password"),
    "hash-secret": ("secrets", "hash_secret"),
    "init": ("init", "init"),
    "keys": ("keys", "keys"),
    "proxy": ("proxy", "proxy"),
    "reload": ("running", "reload"),
    "roll": ("running", "roll"),
    "serve": ("serve", "serve"),
    "tokens": ("tokens", "tokens"),
}
"""The module below `sidecar.cli` that has each command, and its name there."""


class _Commands(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Their names, in order."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  likewise
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"sidecar.cli.{module}"), name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sidecar")
@click.pass_context
def main(context: click.Context) -> None:
    """Add OAuth 2.0 to an API server that has no authentication of its own.

    The sidecar answers POST /oauth/token itself and forwards only requests that carry a valid token. Try it:

        sidecar demo

    The variable SIDECAR_CONFIG takes the place of --config. With NO_COLOR, no command uses colours.
    """
    if os.environ.get("NO_COLOR"):  # no-color.org: any value but an empty one
        context.color = False
    occupy_standard_descriptors()
