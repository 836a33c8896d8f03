"""The command line: parse and print, nothing else. Exit codes: 0, 1 (failed), 2 (usage or configuration)."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from sidecar import __version__
from sidecar.app import client_registry, token_rules
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Refused
from sidecar.core.secrets import Scheme, choose_scheme, hash_secret
from sidecar.core.tokens import AccessToken, explain
from sidecar.demo import demo as run_demo
from sidecar.ops.logs import configure
from sidecar.server import StartError
from sidecar.server import serve as serve_one
from sidecar.settings import Settings, SettingsError, advice, load
from sidecar.stores import open_store
from sidecar.supervisor import serve as serve_many

CONFIG = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """OAuth 2.0 in front of an API server that knows nothing of it.

    The sidecar answers POST /oauth/token itself and forwards only requests that carry a valid token. Try it:

        sidecar demo
    """


def _load(path: Path) -> Settings:
    try:
        return load(path)
    except SettingsError as exc:
        for fault in exc.faults:
            click.echo(fault, err=True)
        count = len(exc.faults)
        click.echo(f"{path}: {count} fault{'s' if count > 1 else ''}", err=True)
        sys.exit(2)


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"sidecar: {message}", err=True)
    sys.exit(code)


@main.command()
@click.option("--config", type=CONFIG, required=True, help="The YAML file; see check-config.")
def serve(config: Path) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C.

    Logs go to stderr, one JSON object a line. Exit code 2: the configuration has faults; 1: it cannot start.
    """
    settings = _load(config)
    configure(settings.logging.level, settings.logging.format)
    try:
        (serve_many if settings.workers > 1 else serve_one)(settings)
    except StartError as exc:
        _fail(str(exc))


@main.command("check-config", short_help="Check a configuration file and report every fault.")
@click.argument("file", type=CONFIG)
def check_config(file: Path) -> None:
    """Check FILE and report every fault at once, each with its path in the file.

    References such as ${env:NAME} are resolved, so run it where the sidecar will run. Exit code 2 when there are faults;
    a warning is none.
    """
    settings = _load(file)
    for each in advice(settings):
        click.echo(f"warning: {each}", err=True)
    click.echo(f"{file}: ok ({len(settings.clients)} clients, {len(settings.routes)} routes)")


@main.command("hash-secret", short_help="Print the client_secret_hash of a secret.")
@click.option("--scheme", type=click.Choice(["sha256", "scrypt"]), help="Default: chosen by the secret's length.")
def hash_secret_command(scheme: Scheme | None) -> None:
    """Print the client_secret_hash of a secret, which is read from stdin or asked for.

    A secret of 32 characters or more is taken for a generated one and hashed with a salted SHA-256, which costs the token
    endpoint next to nothing; a shorter one could be guessed and is hashed with scrypt. Make one with:

        openssl rand -hex 32 | tee secret.txt | sidecar hash-secret
    """
    interactive = sys.stdin.isatty()
    secret = click.prompt("Secret", hide_input=True, confirmation_prompt=True) if interactive else _read_line("secret")
    click.echo(hash_secret(secret, os.urandom(16), scheme or choose_scheme(secret)))


@main.command(short_help="Show the sidecar at work on loopback; --check: the smoke test.")
@click.option("--check", is_flag=True, help="Run the steps and tick them off: exit code 0 or 1.")
@click.option("--store", default="memory://", show_default=True, help="Such as redis://127.0.0.1:6379/0.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 3030; 0 or --check: a free one.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Default: 9464; 0 or --check: a free one.")
def demo(*, check: bool, store: str, port: int | None, admin_port: int | None) -> None:
    """Show the sidecar at work, on loopback only, in front of a small API that comes with it.

    Prints commands to paste. With --check it runs them itself: the smoke test of an installation.
    """
    configure("error" if check else "warning", "auto")
    try:
        code = run_demo(
            check=check,
            store=store,
            port=(0 if check else 3030) if port is None else port,
            admin_port=(0 if check else 9464) if admin_port is None else admin_port,
        )
    except StartError as exc:
        _fail(f"{exc}; choose others with --port and --admin-port")
    except ValueError as exc:
        _fail(f"--store: {exc}", 2)
    sys.exit(code)


@main.group()
def tokens() -> None:
    """Look at and revoke access tokens. A token is read from stdin, to stay out of the shell's history."""


@tokens.command()
@click.option("--config", type=CONFIG, help="Check the token by this file's keys, issuer and audience.")
def inspect(config: Path | None) -> None:
    """Decode the token on stdin and say whether it is valid, or why not.

    Without --config nothing is verified: the output shows only what the token claims. Revocation is not looked up. Exit code
    1 when the token would be refused.
    """
    token = _read_line("token")
    rules = token_rules(_load(config).tokens) if config else None
    seen = explain(token, rules, time.time())
    for name, part in (("header", seen.header), ("claims", seen.claims)):
        click.echo(f"{name}: {_pretty(part)}")
    if rules is None:
        click.echo("not verified: give --config to check signature, times, issuer and audience")
        sys.exit(0 if seen.claims is not None else 1)
    if seen.reason is not None:
        click.echo(f"refused: {seen.reason.word}: {seen.reason.sentence}")
        sys.exit(1)
    click.echo("valid (revocation not looked up)")


def _pretty(part: dict[str, Any] | None) -> str:
    if part is None:
        return "not readable"
    shown = dict(part)
    for name in ("exp", "iat", "nbf"):
        value = shown.get(name)
        if isinstance(value, int) and 0 <= value < 253402300800:
            shown[name] = f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return json.dumps(shown, indent=2)


@tokens.command()
@click.option("--config", type=CONFIG, required=True, help="The file that names the store and the keys.")
def revoke(config: Path) -> None:
    """Revoke the token on stdin: every process that shares the store refuses it from now on."""
    settings = _load(config)
    url = settings.store.url.get_secret_value()
    if url.startswith("memory:"):
        _fail("memory:// lives inside the running process: revoke there, with POST /oauth/revoke", 2)
    rules = token_rules(settings.tokens)
    try:
        token = rules.read_signed(_read_line("token"))
    except Refused as exc:
        _fail(f"not a token of ours: {exc.reason.word}: {exc.detail}")
    try:
        asyncio.run(_revoke(settings, url, token))
    except StoreUnavailable as exc:
        _fail(f"nothing was revoked: {exc}")
    click.echo(f"revoked {token.jti} of {token.client_id}")


@main.group()
def clients() -> None:
    """Look at the clients of a configuration, and make secrets for them. No command here shows a configured secret."""


@clients.command("list")
@click.option("--config", type=CONFIG, required=True, help="The file that names the clients.")
def list_clients(config: Path) -> None:
    """List the clients: id, how each may authenticate, its grants, and whether it is disabled."""
    for client in client_registry(_load(config).clients):
        state = " (disabled)" if client.disabled else ""
        click.echo(f"{client.client_id}{state}: {_words(client.auth_methods)}; {_words(sorted(client.grant_types))}")


@clients.command("show")
@click.option("--config", type=CONFIG, required=True, help="The file that names the clients.")
@click.argument("client_id")
def show_client(config: Path, client_id: str) -> None:
    """Show a client as the sidecar sees it. Exit code 1 when there is none of this id."""
    client = client_registry(_load(config).clients).find(client_id)
    if client is None:
        _fail("there is no client of this id; see sidecar clients list")
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
    """Print a new secret of 256 random bits, for the client, and its hash, for the configuration.

    To change a client's secret while it is in use, put the new hash beside the old one under client_secret_hashes, and take the
    old one away when /metrics shows no more use of it.
    """
    secret = secrets.token_hex(32)
    click.echo(f"client_secret: {secret}")
    click.echo(f"client_secret_hash: {hash_secret(secret, os.urandom(16), 'sha256')}")


def _words(values: Iterable[str]) -> str:
    return ", ".join(values)


async def _revoke(settings: Settings, url: str, token: AccessToken) -> None:
    store = open_store(
        url,
        prefix=settings.store.prefix,
        timeout=settings.store.timeout,
        max_staleness=settings.store.max_staleness,
        clock=time.time,
        monotonic=time.monotonic,
        emit=lambda _: None,
    )
    try:
        await store.revoke(token.jti, token.remembered_until)
    finally:
        await store.close()


def _read_line(what: str) -> str:
    lines: Iterable[str] = [line.strip("\r\n") for line in sys.stdin.readlines()]
    text = next(iter(lines), "")
    if not text:
        _fail(f"no {what} on stdin", 2)
    return text
