"""`sidecar tokens`."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from sidecar.assembly.keys import token_rules
from sidecar.assembly.revoking import (
    Revoked,
    RevokedAccessToken,
    RevokedFirst,
    RevokedGrant,
    revoke_before,
    revoke_presented,
)
from sidecar.cli.moments import Moment, readable
from sidecar.cli.terminal import CONFIG, fail, load_settings, read_line
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Refused
from sidecar.core.revocations import NotBefore, NotBeforeKind
from sidecar.core.tokens import explain


@click.group()
def tokens() -> None:
    """Look at and revoke access tokens. The commands read a token from stdin, to keep it out of the shell's history."""


@tokens.command()
@click.option("--config", type=CONFIG, help="Check the token by this file's keys, issuer and audience.")
def inspect(config: Path | None) -> None:
    """Decode the token on stdin and say whether it is valid, or why not.

    Without --config the command verifies nothing: the output shows only what the token claims. It never looks up revocation.
    Exit code 1 when the sidecar would refuse the token.
    """
    token = read_line("token")
    rules = token_rules(load_settings(config).tokens) if config else None
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
            shown[name] = f"{value} ({readable(value)} UTC)"
    return json.dumps(shown, indent=2)


@tokens.command()
@click.option("--config", type=CONFIG, required=True, help="The file that names the store and the keys.")
@click.option("--client", "client_id", metavar="ID", help="Everything that was issued to this client.")
@click.option("--subject", metavar="S", help="Everything that was issued in the name of this user or client.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--before", type=Moment(), help="With one of these: only what was issued until then. Default: now.")
def revoke(*, config: Path, client_id: str | None, subject: str | None, everything: bool, before: float | None) -> None:
    """Revoke the token on stdin, or with --client, --subject or --all everything that was issued before a moment.

    Every process that shares the store refuses it from now on. A refresh token ends together with everything that came from its
    grant. With --client, --subject or --all, one entry ends access tokens, refresh tokens and logins that are as old as
    --before or older. It does not affect what is issued later.

        sidecar tokens revoke --config sidecar.yaml --client reporting

        sidecar tokens revoke --config sidecar.yaml --all --before 2026-11-24T08:30:00Z
    """
    not_before = _not_before(client_id, subject, everything=everything, before=before, now=time.time())
    settings = load_settings(config)
    if settings.store.in_process:
        fail("memory:// lives inside the running process: revoke there, with POST /oauth/revoke", 2)
    if client_id is not None and client_id not in [client.client_id for client in settings.clients]:
        click.echo(f"sidecar: {config} names no client {client_id}; going on, for it may have had one", err=True)
    try:
        if not_before is not None:
            asyncio.run(revoke_before(settings, not_before, time.time()))
            click.echo(_revoked_message(not_before))
        else:
            click.echo(_message(asyncio.run(revoke_presented(settings, read_line("token"), time.time()))))
    except Refused as exc:
        fail(f"not a token of ours: {exc.reason.word}: {exc.detail}")
    except StoreUnavailable as exc:
        fail(f"nothing was revoked: {exc}")


def _not_before(
    client_id: str | None, subject: str | None, *, everything: bool, before: float | None, now: float
) -> NotBefore | None:
    """Return what the options select, or `None` when the command revokes the token on stdin. Raises `click.UsageError`."""
    chosen: list[tuple[NotBeforeKind, str]] = []
    if client_id is not None:
        chosen.append(("client", client_id))
    if subject is not None:
        chosen.append(("subject", subject))
    if everything:
        chosen.append(("all", ""))
    if len(chosen) > 1:
        raise click.UsageError("Give one of --client, --subject and --all.")
    if before is not None and not chosen:
        raise click.UsageError("--before needs --client, --subject or --all.")
    if before is not None and before > now:
        raise click.UsageError("--before lies in the future: what is not issued yet cannot be revoked.")
    return NotBefore(*chosen[0], int(now if before is None else before)) if chosen else None


def _revoked_message(not_before: NotBefore) -> str:
    name = not_before.name
    issued = {"client": f"issued to {name}", "subject": f"issued in the name of {name}", "all": "issued"}[
        not_before.kind
    ]
    return f"revoked everything {issued} until {readable(not_before.before)} UTC"


def _message(revoked: Revoked) -> str:
    match revoked:
        case RevokedGrant(access_tokens):
            return f"revoked the refresh token and {access_tokens} access tokens of its grant"
        case RevokedAccessToken(jti, client_id):
            return f"revoked {jti} of {client_id}"
        case RevokedFirst(jti):
            return f"the refresh token had ended; revoked {jti}, which came with it"
