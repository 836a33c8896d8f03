"""`sidecar hash-secret` and `hash-password`."""

import os

import click

from sidecar.cli.terminal import fail, read_secret
from sidecar.core.oauth import secrets, users


@click.command("hash-secret", short_help="Print the client_secret_hash of a secret.")
@click.option("--scheme", type=click.Choice(["sha256", "scrypt"]), help="Default: chosen by the secret's length.")
def hash_secret(scheme: secrets.Scheme | None) -> None:
    """Print the client_secret_hash of a secret. The command reads it from stdin, or prompts for it.

    A secret of 32 characters or more counts as generated and is hashed with a salted SHA-256, which costs the token endpoint
    very little. A shorter secret could be guessed and is hashed with scrypt. To make a secret:

        openssl rand -hex 32 | tee secret.txt | sidecar hash-secret
    """
    secret = read_secret("secret")
    click.echo(secrets.hash_secret(secret, os.urandom(16), scheme or secrets.choose_scheme(secret)))


@click.command("hash-password", short_help="Print the password_hash of a user's password.")
def hash_password() -> None:
    """Print the password_hash of a user's password. The command reads it from stdin, or prompts for it."""
    password = read_secret("password")
    if len(password) > users.LONGEST_PASSWORD:
        fail(f"a password has at most {users.LONGEST_PASSWORD} characters", 2)
    click.echo(users.hash_password(password))
