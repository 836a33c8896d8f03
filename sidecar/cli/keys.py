"""`sidecar keys`."""

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from sidecar.assembly.keys import key_ring
from sidecar.cli.secret_files import write_secret
from sidecar.cli.terminal import CONFIG, config_option, fail, json_option, load_settings, print_json
from sidecar.core.jose.algorithms import ASYMMETRIC, SECRET_BYTES, SYMMETRIC
from sidecar.core.jose.keys import generate_pem
from sidecar.core.oauth.names import LONGEST_IDENTIFIER, identifier_fault


@click.group()
def keys() -> None:
    """Make and look at the keys that sign access tokens.

    The first of tokens.signing_keys that is within its window signs, and all verify.
    """


@keys.command()
@click.option("--alg", type=click.Choice([*ASYMMETRIC, *SYMMETRIC]), default="ES256", show_default=True)
@click.option("--out", type=CONFIG, required=True, help="The file to make, with mode 0600; it must not exist.")
@click.option("--kid", help="The key's id. Default: the file's name without its ending.")
def generate(alg: str, out: Path, kid: str | None) -> None:
    """Make a key, and print the lines for tokens.signing_keys.

    The file contains a private key as PKCS #8 PEM, or an HS* secret in hexadecimal. ES256 and EdDSA sign fast. Every library
    knows RS256 (2048 bits). Exit code 1 when the file exists: the command never overwrites a key.
    """
    kid = out.stem if kid is None else kid
    if len(kid) > LONGEST_IDENTIFIER or identifier_fault(kid) is not None:
        fail("--kid: use printable ASCII characters, with no space around them", 2)
    if alg in SYMMETRIC:
        field, text = "secret", os.urandom(SECRET_BYTES[alg]).hex() + "\n"
    else:
        field, text = "private_key", generate_pem(alg)
    try:
        write_secret(out, text)
    except FileExistsError:
        fail(f"{out} exists: no key is overwritten")
    except OSError as exc:
        fail(f"{out} cannot be written: {exc.strerror}")
    click.echo(f"    - kid: {json.dumps(kid)}\n      alg: {alg}\n      {field}: {json.dumps(f'${{file:{out}}}')}")
    if not out.is_absolute():
        click.echo("A relative path is taken from the configuration's folder.", err=True)


@keys.command("list")
@config_option("The file that names the keys.")
@json_option
def list_keys(config: Path, *, as_json: bool) -> None:
    """Show each key's id, algorithm, role and window (UTC): never a secret.

    The roles: signs; verifies; not yet (verifies, and will sign); retired (verifies, and signs no more). Exit code 1 when no
    key may sign now.
    """
    ring, now = key_ring(load_settings(config).tokens), time.time()
    listed = [(key.kid, key.alg, ring.role(key, now), *map(_moment, key.window)) for key in ring]
    if as_json:
        names = ("kid", "alg", "role", "not_before", "not_after")
        print_json([dict(zip(names, each, strict=True)) for each in listed])
    else:
        _print_table([("kid", "alg", "role", "not before", "not after"), *listed])
    if ring.lapsed(now):
        fail("no key may sign now")


def _print_table(rows: Sequence[Sequence[str | None]]) -> None:
    cells = [[each or "-" for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
