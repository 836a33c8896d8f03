"""The command line: parse and print, nothing else. Exit codes: 0, 1 (failed), 2 (usage or configuration)."""

import asyncio
import json
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from sidecar import __version__
from sidecar.assembly.clients import client_registry
from sidecar.assembly.keys import key_ring, successor_keys, token_rules
from sidecar.config.advice import advice
from sidecar.config.document import secret_files
from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings
from sidecar.core.jose.keys import ASYMMETRIC, SECRET_BYTES, SYMMETRIC, generate_pem
from sidecar.core.oauth.refresh_tokens import Outcome, family_key, first_access
from sidecar.core.oauth.secrets import Scheme, choose_scheme, hash_secret
from sidecar.core.oauth.users import LONGEST_PASSWORD, hash_password
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.revocations import CUTOFF_KEPT, Cutoff, CutoffKind
from sidecar.core.tokens import explain
from sidecar.demo import demo as run_demo
from sidecar.ops.logs import configure
from sidecar.runtime import signals
from sidecar.runtime.ending import EndedBadly
from sidecar.runtime.sockets import StartError
from sidecar.runtime.supervisor import serve as serve_many
from sidecar.runtime.worker import serve as serve_one
from sidecar.runtime.worker import start_logging
from sidecar.stores import open_store

CONFIG = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """OAuth 2.0 in front of an API server that knows nothing of it.

    The sidecar answers POST /oauth/token itself and forwards only requests that carry a valid token. Try it:

        sidecar demo
    """
    _occupy_standard_descriptors()


def _occupy_standard_descriptors() -> None:
    """Open /dev/null in the place of stdin, stdout and stderr where they are closed: the next file or socket would get their
    numbers, and with them what is written to stderr."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # this number, for those below it are open
            os.set_inheritable(lowest, True)  # noqa: FBT003  the signature of the standard library


def _load(path: Path, *, now: float | None = None) -> Settings:
    try:
        return load(path, now=now)
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

    Logs go to stderr, one JSON object a line. Exit code 2: the configuration has faults; 1: it cannot start, cannot go on, or
    did not end in order. SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are logged and ignored: a new configuration needs a restart.
    """
    signals.begin()
    settings = _load(config, now=time.time())
    try:
        start_logging(settings, alone=settings.workers == 1)
        (serve_many if settings.workers > 1 else serve_one)(settings)
    except StartError as exc:
        _fail(str(exc))
    except EndedBadly:
        sys.exit(1)


@main.command("check-config", short_help="Check a configuration file and report every fault.")
@click.argument("file", type=CONFIG)
def check_config(file: Path) -> None:
    """Check FILE and report every fault at once, each with its path in the file.

    References such as ${env:NAME} are resolved, so run it where the sidecar will run. Exit code 2 when there are faults;
    a warning is none.
    """
    settings = _load(file, now=time.time())
    for each in advice(settings, now=time.time(), files=secret_files(file)):
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


@main.command("hash-password", short_help="Print the password_hash of a user's password.")
def hash_password_command() -> None:
    """Print the password_hash of a user's password, which is read from stdin or asked for."""
    interactive = sys.stdin.isatty()
    password = (
        click.prompt("Password", hide_input=True, confirmation_prompt=True) if interactive else _read_line("password")
    )
    if len(password) > LONGEST_PASSWORD:
        _fail(f"a password has at most {LONGEST_PASSWORD} characters", 2)
    click.echo(hash_password(password))


@main.command(short_help="Show the sidecar at work on loopback; --check: the smoke test.")
@click.option("--check", is_flag=True, help="Run the steps and tick them off: exit code 0 or 1.")
@click.option("--store", default="memory://", show_default=True, help="Such as redis://127.0.0.1:6379/0.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 3030; 0 or --check: a free one.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Default: 9464; 0 or --check: a free one.")
def demo(*, check: bool, store: str, port: int | None, admin_port: int | None) -> None:
    """Show the sidecar at work, on loopback only, in front of a small API that comes with it.

    Prints commands to paste. With --check it runs them itself: the smoke test of an installation.
    """
    signals.begin()
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


class Moment(click.ParamType[float]):
    """RFC 3339, a date, or epoch seconds, as epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails for what is none, and for a time without its offset, which could mean any zone."""
        if isinstance(value, float) or (value.isascii() and value.isdigit()):
            return float(value)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and len(value) == len("2026-11-24"):
            moment = moment.replace(tzinfo=UTC)
        if moment is None or moment.tzinfo is None:
            self.fail("write a time such as 2026-11-24T08:30:00Z, 2026-11-24 (UTC) or 1795509000", param, ctx)
        return moment.timestamp()


@tokens.command()
@click.option("--config", type=CONFIG, required=True, help="The file that names the store and the keys.")
@click.option("--client", "client_id", metavar="ID", help="Everything that was issued to this client.")
@click.option("--subject", metavar="S", help="Everything that was issued in this person's (or client's own) name.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--before", type=Moment(), help="With one of these: what was issued until then. Default: now.")
def revoke(*, config: Path, client_id: str | None, subject: str | None, everything: bool, before: float | None) -> None:
    """Revoke the token on stdin, or with --client, --subject or --all everything that was issued before a moment.

    Every process that shares the store refuses it from now on. A refresh token is revoked with all that came of its grant.
    With --client, --subject or --all, one entry ends access tokens, refresh tokens and logins that are as old as --before
    or older; what is issued later is not touched.

        sidecar tokens revoke --config sidecar.yaml --client reporting

        sidecar tokens revoke --config sidecar.yaml --all --before 2026-11-24T08:30:00Z
    """
    chosen: list[tuple[CutoffKind, str]] = []
    if client_id is not None:
        chosen.append(("client", client_id))
    if subject is not None:
        chosen.append(("subject", subject))
    if everything:
        chosen.append(("all", ""))
    now = time.time()
    if len(chosen) > 1:
        raise click.UsageError("Give one of --client, --subject and --all.")
    if before is not None and not chosen:
        raise click.UsageError("--before needs --client, --subject or --all.")
    if before is not None and before > now:
        raise click.UsageError("--before lies in the future: what is not issued yet cannot be revoked.")
    settings = _load(config)
    if settings.store.url.get_secret_value().startswith("memory:"):
        _fail("memory:// lives inside the running process: revoke there, with POST /oauth/revoke", 2)
    if client_id is not None and client_id not in [client.client_id for client in settings.clients]:
        click.echo(f"sidecar: {config} names no client {client_id}; going on, for it may have had one", err=True)
    try:
        if chosen:
            said = asyncio.run(_cut_off(settings, Cutoff(*chosen[0], int(now if before is None else before)), now))
        else:
            said = asyncio.run(_revoke(settings, _read_line("token")))
    except Refused as exc:
        _fail(f"not a token of ours: {exc.reason.word}: {exc.detail}")
    except StoreUnavailable as exc:
        _fail(f"nothing was revoked: {exc}")
    click.echo(said)


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


async def _cut_off(settings: Settings, cutoff: Cutoff, now: float) -> str:
    async with _store(settings) as store:
        await store.cut_off(cutoff, int(now) + CUTOFF_KEPT)
    whose = {"client": f" to {cutoff.name}", "subject": f" in the name of {cutoff.name}", "all": ""}[cutoff.kind]
    return f"revoked everything issued{whose} until {datetime.fromtimestamp(cutoff.before, UTC):%Y-%m-%d %H:%M:%S} UTC"


async def _revoke(settings: Settings, text: str) -> str:
    """Raises `Refused` for what is no token of ours."""
    family = family_key(text)
    async with _store(settings) as store:
        if family is not None:
            ended = await store.end_family(family)
            if ended.outcome is Outcome.UNKNOWN:
                return await _revoke_first(settings, store, text)
            return f"revoked the refresh token and {len(ended.revoked)} access tokens of its grant"
        token = token_rules(settings.tokens).read_signed(text)
        await store.revoke(token.jti, token.remembered_until)
    return f"revoked {token.jti} of {token.client_id}"


async def _revoke_first(settings: Settings, store: Store, text: str) -> str:
    """A refresh token that the store has forgotten, and the access token that came with it. Raises `Refused`."""
    keys = successor_keys(settings.tokens)
    found = (first_access(text, client.client_id, keys) for client in settings.clients)
    jti = next(filter(None, found), None)
    if jti is None:
        raise Refused(Reason.REFRESH_EXPIRED)
    await store.revoke(jti, token_rules(settings.tokens).remembered_until(time.time()))
    return f"the refresh token had ended; revoked {jti}, which came with it"


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    store = open_store(
        settings.store.url.get_secret_value(),
        prefix=settings.store.prefix,
        timeout=settings.store.timeout,
        max_staleness=settings.store.max_staleness,
        clock=time.time,
        monotonic=time.monotonic,
        emit=lambda _: None,
    )
    try:
        yield store
    finally:
        await store.close()


@main.group("keys")
def keys_group() -> None:
    """Make and look at the keys that sign access tokens.

    The first of tokens.signing_keys that is within its window signs, and all verify.
    """


@keys_group.command()
@click.option("--alg", type=click.Choice([*ASYMMETRIC, *SYMMETRIC]), default="ES256", show_default=True)
@click.option("--out", type=CONFIG, required=True, help="The file to make, with mode 0600; it must not exist.")
@click.option("--kid", help="The key's id. Default: the file's name without its ending.")
def generate(alg: str, out: Path, kid: str | None) -> None:
    """Make a key, and print the lines for tokens.signing_keys.

    A private key is written as PKCS #8 PEM, an HS* secret in hexadecimal. ES256 and EdDSA sign fast; RS256 (2048 bits) is what
    every library knows. Exit code 1 when the file exists: no key is ever overwritten.
    """
    kid = out.stem if kid is None else kid
    if not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?", kid):
        _fail("--kid: use printable ASCII characters, with no space around them", 2)
    if alg in SYMMETRIC:
        field, text = "secret", os.urandom(SECRET_BYTES[alg]).hex() + "\n"
    else:
        field, text = "private_key", generate_pem(alg)
    try:
        _write_secret(out, text)
    except FileExistsError:
        _fail(f"{out} exists: no key is overwritten")
    except OSError as exc:
        _fail(f"{out} cannot be written: {exc.strerror}")
    click.echo(f"    - kid: {json.dumps(kid)}\n      alg: {alg}\n      {field}: {json.dumps(f'${{file:{out}}}')}")
    if not out.is_absolute():
        click.echo("A relative path is taken from the configuration's folder.", err=True)


def _write_secret(path: Path, text: str) -> None:
    """A new file that its owner alone may read. Raises `OSError`, also when there is a file or a link of this name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()  # half a key
        raise


@keys_group.command("list")
@click.option("--config", type=CONFIG, required=True)
def list_keys(config: Path) -> None:
    """Show each key's id, algorithm, role and window (UTC): never a secret.

    The roles: signs; verifies; not yet (verifies, and will sign); retired (verifies, and signs no more). Exit code 1 when no
    key may sign now.
    """
    ring, now = key_ring(_load(config).tokens), time.time()
    head = ("kid", "alg", "role", "not before", "not after")
    rows = [head, *((key.kid, key.alg, ring.role(key, now), *map(_moment, key.window)) for key in ring)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if ring.lapsed(now):
        _fail("no key may sign now")


def _moment(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _read_line(what: str) -> str:
    lines: Iterable[str] = [line.strip("\r\n") for line in sys.stdin.readlines()]
    text = next(iter(lines), "")
    if not text:
        _fail(f"no {what} on stdin", 2)
    return text
