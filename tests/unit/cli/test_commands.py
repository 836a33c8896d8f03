"""The command line, in this process; tests/e2e starts it as a process too."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sidecar import __version__
from sidecar.assembly.keys import token_rules
from sidecar.cli.commands import main
from sidecar.config.load import load
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.oauth.users import User, UserDirectory
from tests.support.assertions import ec_pair, rsa_pair
from tests.support.process import configuration
from tests.support.redis import RedisServer, free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1")))
    return path


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def test_the_version() -> None:
    assert run("--version").output == f"sidecar, version {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["check-config"],
        ["hash-secret"],
        ["demo"],
        ["tokens"],
        ["tokens", "inspect"],
        ["tokens", "revoke"],
        ["clients"],
        ["clients", "list"],
        ["clients", "show"],
        ["clients", "new-secret"],
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


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


def test_a_file_without_faults_is_said_to_be_ok(config: Path) -> None:
    result = run("check-config", str(config))
    *warnings, last = result.output.splitlines()
    assert (result.exit_code, last) == (0, f"{config}: ok (2 clients, 0 routes)")
    assert all(".client_secret: can be guessed" in warning for warning in warnings)


def test_a_token_in_memory_cannot_be_revoked_from_outside(config: Path) -> None:
    result = run("tokens", "revoke", "--config", str(config), stdin="x")
    assert result.exit_code == 2
    assert "POST /oauth/revoke" in result.output


def test_nothing_is_called_revoked_when_the_store_is_down(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    document = configuration("http://127.0.0.1:1", store={"url": f"redis://127.0.0.1:{free_port()}", "timeout": "1s"})
    path.write_text(yaml.safe_dump(document))
    result = run("tokens", "revoke", "--config", str(path), stdin="not.a.token")
    assert (result.exit_code, "not a token of ours: malformed_token" in result.output) == (1, True)
    settings = load(path)
    token, _ = token_rules(settings.tokens).issue(
        client_id="other", subject="other", roles=(), scope=(), now=1_800_000_000, jti="j"
    )
    result = run("tokens", "revoke", "--config", str(path), stdin=token)
    assert (result.exit_code, "nothing was revoked: no connection" in result.output) == (1, True)
    shown = run("tokens", "inspect", stdin=token)
    assert "not verified: give --config" in shown.output
    assert "1800001800 (2027-01-15 08:30:00 UTC)" in shown.output


def test_the_demo_refuses_a_store_that_is_none() -> None:
    result = run("demo", "--check", "--store", "mysql://x")
    assert result.exit_code == 2
    assert "memory://" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--client", "a", "--subject", "b"], "one of"),
        (["--client", "a", "--all"], "one of"),
        (["--before", "2026-01-01"], "needs"),
        (["--all", "--before", "2999-01-01"], "future"),
        (["--all", "--before", "yesterday"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "2026-11-24T08:30:00"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "-1"], "2026-11-24T08:30:00Z"),
        (["--all", "--before", "\u0663"], "2026-11-24T08:30:00Z"),
        (["--all"], "POST /oauth/revoke"),
    ],
)
def test_what_is_to_be_revoked_must_be_clear(config: Path, arguments: list[str], says: str) -> None:
    result = run("tokens", "revoke", "--config", str(config), *arguments)
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-02", "2026-01-02 00:00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05"),
        ("2026-01-02T03:04:05.9+01:00", "2026-01-02 02:04:05"),
        ("1700000000", "2023-11-14 22:13:20"),
    ],
)
def test_a_moment_is_written_in_these_ways(tmp_path: Path, text: str, shown: str) -> None:
    with RedisServer() as server:
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", store={"url": server.url})))
        result = run("tokens", "revoke", "--config", str(path), "--client", "gone", "--before", text)
        assert result.exit_code == 0
        assert f"revoked everything issued to gone until {shown} UTC" in result.output
        assert "names no client gone" in result.output
        assert server.command("HKEYS", "{sidecar}:cutoffs") == [b"client gone"]


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    """A configuration with a client of each kind."""
    clients = [
        {
            "client_id": "reporting",
            "client_name": "Reporting",
            "client_secret_hashes": [hash_secret(f"canary-{n}", bytes(16), "sha256") for n in range(2)],
            "scope": "a b",
            "roles": ["analyst"],
            "introspect": True,
            "disabled": True,
        },
        {
            "client_id": "warehouse",
            "jwks": {"keys": [{**ec_pair().jwk, "kid": "2026"}]},
            "public_key": rsa_pair().public,
        },
        {
            "client_id": "app",
            "token_endpoint_auth_method": "none",
            "grant_types": ["implicit", "authorization_code"],
            "redirect_uris": ["https://app.example.com/cb"],
        },
        {"client_id": "hs", "client_secret": "canary" * 6, "token_endpoint_auth_method": "client_secret_jwt"},
    ]
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", clients=clients)))
    return path


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


def test_implicit_is_warned_of_and_is_no_fault(registered: Path) -> None:
    result = run("check-config", str(registered))
    assert result.exit_code == 0
    assert "warning: clients[2].grant_types: implicit shows tokens" in result.output
    assert "RFC 9700 section 2.1.2" in result.output


def test_refresh_tokens_for_client_credentials_are_warned_of(tmp_path: Path) -> None:
    both = {"client_secret": "s" * 40, "grant_types": ["client_credentials", "refresh_token"]}
    clients = [
        {"client_id": "plain", "client_secret": "s" * 40, "grant_types": ["client_credentials"]},
        {"client_id": "both", **both},
        {"client_id": "app", **both, "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": ["https://a/"]},
    ]  # fmt: skip
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", clients=clients)))
    result = run("check-config", str(path))
    assert result.exit_code == 0
    (warning,) = [line for line in result.output.splitlines() if "section 4.4.3" in line]
    assert warning.startswith("warning: clients[1].grant_types: ")
    assert 'RFC 6749 section 4.4.3: "A refresh token SHOULD NOT be included"' in warning


def test_a_password_is_hashed_and_fits() -> None:
    result = run("hash-password", stdin="correct horse\n")
    assert result.exit_code == 0
    users = UserDirectory([User("anna", result.output.strip())], bytes(32))
    assert users.authenticate("anna", "correct horse").username == "anna"


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 1025])
def test_a_password_that_cannot_be_one_is_refused(stdin: str) -> None:
    assert run("hash-password", stdin=stdin).exit_code == 2
