"""`sidecar clients`."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from sidecar.assembly.clients import client_registry
from sidecar.cli.completion import client_ids
from sidecar.cli.terminal import config_option, fail, json_option, load_settings, print_json
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.secrets import hash_secret


@click.group()
def clients() -> None:
    """Look at the clients of a configuration, and make secrets for them. No command here shows a configured secret."""


@clients.command("list")
@config_option("The file that names the clients.")
@json_option
def list_clients(config: Path, *, as_json: bool) -> None:
    """List the clients: id, how each may authenticate, its grants, and whether it is disabled."""
    listed = list(client_registry(load_settings(config).clients))
    if as_json:
        print_json([_fields(client) for client in listed])
        return
    for client in listed:
        state = " (disabled)" if client.disabled else ""
        click.echo(f"{client.client_id}{state}: {_words(client.auth_methods)}; {_words(sorted(client.grant_types))}")


@clients.command("show")
@config_option("The file that names the clients.")
@json_option
@click.argument("client_id", shell_complete=client_ids)
def show_client(config: Path, client_id: str, *, as_json: bool) -> None:
    """Show a client as the sidecar sees it. Exit code 1 when no client has this id."""
    client = client_registry(load_settings(config).clients).find(client_id)
    if client is None:
        fail("there is no client of this id; see sidecar clients list")
    fields = _fields(client)
    if as_json:
        print_json(fields)
        return
    fields["keys"] = "; ".join(f"{_words(key.algs)}{f', kid {key.kid}' if key.kid else ''}" for key in client.keys)
    fields["redirect_uris"] = " ".join(client.redirect_uris)
    for name, value in fields.items():
        click.echo(f"{name}: {_shown(value) or '-'}")


def _fields(client: Client) -> dict[str, Any]:
    """What a client may do, and by which kinds of secrets and keys it authenticates, in values of JSON."""
    return {
        "client_id": client.client_id,
        "client_name": client.client_name,
        "authentication": list(client.auth_methods),
        "secrets": ["scrypt" if secret.slow else "sha256" for secret in client.secrets],
        "keys": [{"algs": list(key.algs), "kid": key.kid or None} for key in client.keys],
        "grant_types": sorted(client.grant_types),
        "scope": " ".join(client.scope),
        "roles": list(client.roles),
        "redirect_uris": list(client.redirect_uris),
        "introspect": client.introspect,
        "disabled": client.disabled,
    }


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _words(value) if isinstance(value, list) else str(value or "")


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
