"""`sidecar config`."""

import click

from sidecar.cli.terminal import print_json
from sidecar.config.schema import json_schema


@click.group()
def config() -> None:
    """Help with the configuration file. To check one, see check-config."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors that complete keys and explain them.

    Write it beside your file, and name it in the first line of that file:

        sidecar config schema > sidecar.schema.json

        # yaml-language-server: $schema=sidecar.schema.json
    """
    print_json(json_schema())
