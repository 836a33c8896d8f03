"""`sidecar tokens`."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from sidecar.assembly.inspecting import current_objection
from sidecar.assembly.keys import token_rules
from sidecar.assembly.revoking import (
    Revoked,
    RevokedAccessToken,
    RevokedFirst,
    RevokedGrant,
    revoke_before,
    revoke_presented,
)
from sidecar.cli.completion import client_ids
from sidecar.cli.moments import Moment, readable
from sidecar.cli.terminal import at_work, config_option, fail, json_option, load_settings, print_json, read_line
from sidecar.config.settings import Settings
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.revocations import NotBefore, NotBeforeKind
from sidecar.core.tokens import Explanation, explain


@click.group()
def tokens() -> None:
    """Look at and revoke access tokens. The commands read a token from stdin, to keep it out of the shell's history."""


@tokens.command()
@config_option("Check the token by this file's keys, issuer, audience, clients and store.", required=False)
@json_option
def inspect(config: Path | None, *, as_json: bool) -> None:
    """Decode the token on stdin and say whether it is valid, or why not.

    With a configuration the command decides as the sidecar does: by signature, times, issuer, audience, disabled clients, and
    the revocations in the store. A store in memory:// cannot be asked. Without a configuration the command verifies nothing,
    and shows only what the token claims. Exit code 1 when the sidecar would refuse the token, or cannot tell.
    """
    token = read_line("token")
    now = time.time()
    settings = load_settings(config) if config else None
    seen = explain(token, token_rules(settings.tokens) if settings else None, now)
    verdict = _unverified(seen) if settings is None else _verdict(settings, token, seen, now)
    if as_json:
        print_json({"header": seen.header, "claims": seen.claims, **verdict.fields})
    else:
        for name, part in (("header", seen.header), ("claims", seen.claims)):
            click.echo(f"{name}: {_pretty(part)}")
        click.echo(verdict.text)
    sys.exit(verdict.code)


class _Verdict(NamedTuple):
    """What the sidecar would do with a token: in words, in values of JSON, and as an exit code."""

    text: str
    fields: dict[str, Any]
    code: int


def _unverified(seen: Explanation) -> _Verdict:
    text = "not verified: give --config to check signature, times, issuer, audience and revocation"
    return _Verdict(text, {"verdict": "not_verified", "reason": None}, int(seen.claims is None))


def _verdict(settings: Settings, token: str, seen: Explanation, now: float) -> _Verdict:
    reason = seen.reason
    if reason is None:
        try:
            with at_work("looking for revocations"):
                reason = asyncio.run(current_objection(settings, token, now))
        except StoreUnavailable as exc:
            fields = {"verdict": "undecided", "reason": Reason.STORE_UNAVAILABLE.word, "detail": str(exc)}
            return _Verdict(f"undecided: {Reason.STORE_UNAVAILABLE.word}: {exc}", fields, 1)
    if reason is not None:
        text = f"refused: {reason.word}: {reason.sentence}"
        return _Verdict(text, {"verdict": "refused", "reason": reason.word, "detail": reason.sentence}, 1)
    asked = not settings.store.in_process
    text = "valid, and not revoked"
    if not asked:
        text = "valid (revocation not looked up)\nmemory:// is in the running sidecar, and a command cannot ask it"
    return _Verdict(text, {"verdict": "valid", "reason": None, "revocation_looked_up": asked}, 0)


def _pretty(part: dict[str, Any] | None) -> str:
    if part is None:
        return "not readable"
    shown = dict(part)
    for name in ("exp", "iat", "nbf"):
        value = shown.get(name)
        if type(value) is int and 0 <= value < 253402300800:  # a bool is an int to isinstance
            shown[name] = f"{value} ({readable(value)} UTC)"
    return json.dumps(shown, indent=2)


@tokens.command()
@config_option("The file that names the store and the keys.")
@click.option(
    "--client", "client_id", metavar="ID", shell_complete=client_ids, help="Everything that was issued to this client."
)
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
