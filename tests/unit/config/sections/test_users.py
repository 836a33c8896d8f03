"""The section `users`."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.core.oauth.users import hash_password
from tests.support.settings import assert_refused, changed, settings_of

USER = {"username": "u", "password_hash": hash_password("p")}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "users": (changed(users=[{"username": "u"}]), "users[0].password_hash: is required"),
    "a password for a hash": (
        changed(users=[{"username": "u", "password_hash": "canary"}]), "users[0].password_hash: is not an argon2id hash",
    ),
    "a role that is two": (changed(users=[{**USER, "roles": ["a,b"]}]), "users[0].roles[0]: must not hold a comma"),
    "a scope with a quote": (changed(users=[{**USER, "scope": 'a"'}]), "users[0].scope: write scopes as one string"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


def test_who_may_log_in_and_for_what(file: Path) -> None:
    others = {"username": "v", "roles": ["clerk"], "scope": "a b", "disabled": True}
    one, two = settings_of(file, changed(users=[USER, {**USER, **others}])).users
    assert (one.username, one.roles, one.scope, one.disabled) == ("u", (), None, False)
    assert (two.username, two.roles, two.scope, two.disabled) == ("v", ("clerk",), ("a", "b"), True)
