"""The `sidecar` command: its version, and the groups and commands under it.

Exit codes: 0; 1 (failed); 2 (usage or configuration).
"""

import os

import click

from sidecar import __version__
from sidecar.cli.clients import clients
from sidecar.cli.completion import completion
from sidecar.cli.config import config
from sidecar.cli.doctor import doctor
from sidecar.cli.init import init
from sidecar.cli.keys import keys
from sidecar.cli.proxy import proxy
from sidecar.cli.running import drain, reload, roll
from sidecar.cli.secrets import hash_password, hash_secret
from sidecar.cli.serve import check_config, demo, serve
from sidecar.cli.tokens import tokens
from sidecar.runtime.descriptors import occupy_standard_descriptors


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for _command in (
    serve,
    check_config,
    doctor,
    reload,
    drain,
    roll,
    demo,
    proxy,
    init,
    hash_secret,
    hash_password,
    tokens,
    clients,
    keys,
    config,
    completion,
):
    main.add_command(_command)
