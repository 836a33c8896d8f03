"""`sidecar hash-secret` and `hash-password`, in this process."""

import pytest

from sidecar.core.oauth.secrets import parse_secret_hash
from sidecar.core.oauth.users import User, UserDirectory
from tests.support.command import run


@pytest.mark.parametrize(("secret", "scheme"), [("x" * 32, "sha256"), ("hunter2", "scrypt"), ("pass word ", "scrypt")])
def test_a_secret_is_hashed_by_its_length(secret: str, scheme: str) -> None:
    result = run("hash-secret", stdin=secret + "\n")
    assert result.output.startswith(scheme + "$")
    assert parse_secret_hash(result.output.strip()).matches(secret)


def test_a_scheme_can_be_chosen() -> None:
    assert run("hash-secret", "--scheme", "scrypt", stdin="x" * 32).output.startswith("scrypt$")


def test_two_hashes_of_a_secret_differ() -> None:
    assert run("hash-secret", stdin="x" * 32).output != run("hash-secret", stdin="x" * 32).output


def test_no_secret_is_an_error_of_usage() -> None:
    assert run("hash-secret", stdin="\n").exit_code == 2


def test_a_password_is_hashed_and_fits() -> None:
    result = run("hash-password", stdin="correct horse\n")
    assert result.exit_code == 0
    users = UserDirectory([User("anna", result.output.strip())], bytes(32))
    assert users.authenticate("anna", "correct horse").username == "anna"


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 1025])
def test_a_password_that_cannot_be_one_is_refused(stdin: str) -> None:
    assert run("hash-password", stdin=stdin).exit_code == 2
