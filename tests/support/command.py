"""The command line, run in this process."""

from click.testing import CliRunner, Result

from sidecar.cli import main


def run(*arguments: str, stdin: str = "") -> Result:
    """What a command prints, and its exit code."""
    return CliRunner().invoke(main, arguments, input=stdin)
