"""`sidecar clients`."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import click

from sidecar.assembly.clients import client_registry
from sidecar.cli.terminal import CONFIG, fail, load_settings
from sidecar.core.oauth.secrets import hash_secret


@click.group()
def clients() -> None:
    """Look at the clients of a configuration, and make secrets for them. No command here shows a configured secret."""


@clients.command("list")
@click.option("--config", type=CONFIG, required=True, help="The file that names the clients.")
def list_clients(config: Path) -> None:
    """List the clients: id, how each may authenticate, its grants, and whether it is disabled."""
    for client in client_registry(load_settings(config).clients):
        state = " (disabled)" if client.disabled else ""
        click.echo(f"{client.client_id}{state}: {_words(client.auth_methods)}; {_words(sorted(client.grant_types))}")


@clients.command("show")
@click.option("--config", type=CONFIG, required=True, help="The file that names the clients.")
@click.argument("client_id")
def show_client(config: Path, client_id: str) -> None:
    """Show a client as the sidecar sees it. Exit code 1 when no client has this id."""
    client = client_registry(load_settings(config).clients).find(client_id)
    if client is None:
        fail("there is no client of this id; see sidecar clients list")
    fields = {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "authentication": _words(client.auth_methods),
        "secrets": _words("scrypt" if secret.slow else "sha256" for secret in client.secrets),
        "keys": "; ".join(f"{_words(key.algs)}{f', kid {key.kid}' if key.kid else ''}" for key in client.keys),
        "grant_types": _words(sorted(client.grant_types)),
        "scope": " ".join(client.scope),
        "roles": _words(client.roles),
        "redirect_uris": " ".join(client.redirect_uris),
        "introspect": "yes" if client.introspect else "no",
        "disabled": "yes" if client.disabled else "no",
    }
    for name, value in fields.items():
        click.echo(f"{name}: {value or '-'}")


@clients.command("new-secret")
def new_secret() -> None:
    """Print a new secret of 256 random bits for the client, and its hash for the configuration.

    To change a client's secret while it is in use, put the new hash beside the old one under client_secret_hashes. Remove the
    old one when /metrics shows no more use of it.
    """
    secret = secrets.token_hex(32)
    click.echo(f"client_secret: {secret}")
    click.echo(f"client_secret_hash: {hash_secret(secret, os.urandom(16), 'sha256')}")


def _words(values: Iterable[str]) -> str:
    return ", ".join(values)
