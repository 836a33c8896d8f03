"""`sidecar clients`, in this process."""

from pathlib import Path

from sidecar.core.oauth.secrets import parse_secret_hash
from tests.support.command import run


def test_clients_are_listed_with_what_they_may_do(registered: Path) -> None:
    assert run("clients", "list", "--config", str(registered)).output.splitlines() == [
        "reporting (disabled): client_secret_basic, client_secret_post; client_credentials",
        "warehouse: private_key_jwt; client_credentials",
        "app: none; authorization_code, implicit",
        "hs: client_secret_jwt; client_credentials",
    ]


def test_a_client_is_shown_without_its_secrets(registered: Path) -> None:
    shown = {
        name: run("clients", "show", name, "--config", str(registered)).output for name in ("reporting", "warehouse")
    }
    assert shown["reporting"].splitlines() == [
        "client_id: reporting",
        "client_name: Reporting",
        "authentication: client_secret_basic, client_secret_post",
        "secrets: sha256, sha256",
        "keys: -",
        "grant_types: client_credentials",
        "scope: a b",
        "roles: analyst",
        "redirect_uris: -",
        "introspect: yes",
        "disabled: yes",
    ]
    assert "keys: RS256, PS256; ES256, kid 2026\n" in shown["warehouse"]
    assert "canary" not in str(shown) + run("clients", "show", "hs", "--config", str(registered)).output


def test_a_client_that_is_not_there_is_not_shown(registered: Path) -> None:
    result = run("clients", "show", "nobody", "--config", str(registered))
    assert (result.exit_code, "there is no client of this id" in result.output) == (1, True)


def test_a_new_secret_fits_its_hash_and_is_never_the_same() -> None:
    made = [dict(line.split(": ") for line in run("clients", "new-secret").output.splitlines()) for _ in range(2)]
    for each in made:
        assert len(each["client_secret"]) == 64
        assert parse_secret_hash(each["client_secret_hash"]).matches(each["client_secret"])
    assert made[0]["client_secret"] != made[1]["client_secret"]
