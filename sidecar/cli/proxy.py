"""`sidecar proxy`: guards an API without any file."""

import json
import secrets
import sys
from typing import Any, Final

import click
from pydantic import ValidationError

from sidecar.cli.terminal import fail, json_option
from sidecar.config.descriptions import describe
from sidecar.config.settings import Settings
from sidecar.config.values import parse_address
from sidecar.runtime import signals
from sidecar.runtime.ending import EndedBadly
from sidecar.runtime.sockets import StartError
from sidecar.runtime.worker import serve, start_logging

_CLIENT_ID: Final = "client"
_OPTIONS: Final = {
    "listen": "--listen",
    "admin.listen": "--admin",
    "upstream.url": "--upstream",
    "store.url": "--store",
    "tokens.issuer": "--issuer",
    "routes": "--public",
}
"""The option that gives each key."""
_WELCOME: Final = """\
The sidecar guards {upstream} at {url}, as long as it runs.

  client_id:     {client_id}
  client_secret: {client_secret}

Get a token, and call the API with it:

  TOKEN=$(curl -s {url}/oauth/token -u {client_id}:{client_secret} -d grant_type=client_credentials \\
      | sed -n 's/.*"access_token": *"\\([^"]*\\)".*/\\1/p')
  curl -i {url}/ -H "Authorization: Bearer $TOKEN"

Metrics and the state: {admin}
Key, client and tokens end with this process. For a configuration that stays: sidecar init
"""


@click.command("proxy", short_help="Guard an API without any file.")
@click.option("--upstream", metavar="URL", required=True, help="Your API, such as http://127.0.0.1:8000.")
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:3030", show_default=True, help="Where clients connect."
)
@click.option("--admin", metavar="HOST:PORT", default="127.0.0.1:9464", show_default=True, help="The admin listener.")
@click.option("--store", metavar="URL", default="memory://", show_default=True, help="Where revocations are kept.")
@click.option("--issuer", metavar="URL", help="The URL by which clients reach the sidecar. Default: http://HOST:PORT.")
@click.option(
    "--public", metavar="PATH", multiple=True, help="A path that needs no token, such as /health. Repeatable."
)
@json_option
def proxy(
    *, upstream: str, listen: str, admin: str, store: str, issuer: str | None, public: tuple[str, ...], as_json: bool
) -> None:
    """Guard the API at an URL, until Ctrl-C or SIGTERM, without any file: with a new signing key and one client.

    Id and secret of the client are printed once, on stdout; logs go to stderr. Every other path than those of --public needs a
    token. Options that cannot be used are reported with exit code 2.
    """
    secret = secrets.token_hex(32)
    settings = _settings(upstream, listen, admin, store, issuer, public, secret)
    signals.begin()
    shown = {"upstream": upstream, "client_id": _CLIENT_ID, "client_secret": secret}

    def announce(url: str, admin_url: str) -> None:
        values = {"url": url, "admin": admin_url, **shown}
        click.echo(json.dumps(values) if as_json else _WELCOME.format_map(values))

    try:
        start_logging(settings, alone=True)
        serve(settings, announce)
    except StartError as exc:
        fail(f"{exc}; see --listen and --admin")
    except EndedBadly:
        sys.exit(1)


def _settings(
    upstream: str, listen: str, admin: str, store: str, issuer: str | None, public: tuple[str, ...], secret: str
) -> Settings:
    document: dict[str, Any] = {
        "listen": listen,
        "admin": {"listen": admin},
        "upstream": {"url": upstream},
        "store": {"url": store},
        "tokens": {
            "issuer": issuer or _reached_at(listen),
            "audience": "api",
            "signing_keys": [{"kid": "1", "alg": "HS256", "secret": secrets.token_hex(32)}],
        },
        "clients": [{"client_id": _CLIENT_ID, "client_secret": secret}],
        "routes": [{"path": path, "access": "public"} for path in public],
    }
    try:
        return Settings.model_validate(document)
    except ValidationError as exc:
        faults = [describe(error, Settings) for error in exc.errors(include_url=False, include_input=False)]
        fail("\n".join(f"{_option(fault.path)}: {fault.message}" for fault in faults), 2)


def _reached_at(listen: str) -> str:
    try:
        address = parse_address(listen).nearby
    except ValueError:  # it is reported with the others
        return "http://127.0.0.1"
    return f"http://{address}" if address.port else f"http://{str(address).rpartition(':')[0]}"


def _option(path: str) -> str:
    return next((option for key, option in _OPTIONS.items() if path.startswith(key)), path)
