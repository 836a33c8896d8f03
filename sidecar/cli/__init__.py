"""The command line."""

from sidecar.cli.commands import main as main
