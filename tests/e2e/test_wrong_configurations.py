"""Configurations that look right and are not: the real command says what to write, and nothing starts.

A reference that nothing resolved would be the secret itself, and a route that matches nothing leaves its paths open.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.core.oauth.secrets import hash_secret
from tests.support.process import COMMAND, SECRET, configuration, running
from tests.support.raw import exchange
from tests.support.upstream import Upstream

TO_WRITE = "${env:NAME}"
AS_TEXT = [
    "${SECRET}", "$SECRET", "$env:X", "${ENV:X}", "${env.X}", "${{ secrets.X }}", "${env:X", "${env: X}", "${env:X:-canary}", "${file:x:-canary}",
    "${env:X-canary}", "${env:${X}}", "a${b", "$(X)", "{{ env.X }}", "{{ .Values.x }}", "{% env X %}", "%X%", "<%= canary %>", "#{X}", "@X@",
    "env:X", "file:x", "${vault:canary}", "vault:secret/canary#x", "ref+vault://canary", "op://canary/x", "arn:aws:secretsmanager:canary",
    "__X__", "<your-secret>", "ENC[AES256_GCM,data:canary]", "secretKeyRef",
]  # fmt: skip


def run(folder: Path, text: str, command: str = "check-config", **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "sidecar.yaml").write_text(text)
    arguments = [*COMMAND, command, *(["--config"] if command == "serve" else []), str(folder / "sidecar.yaml")]
    env = {name: value for name, value in os.environ.items() if name != "X"} | environment
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=env, check=False)


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    """All but those about the short secrets of the tests' own clients."""
    return [line for line in done.stderr.splitlines() if ".client_secret: can be guessed" not in line]


def dumped(**sections: Any) -> str:
    return yaml.safe_dump(configuration("http://127.0.0.1:1", **sections))


def clients(secrets: Iterable[str]) -> list[dict[str, Any]]:
    return [{"client_id": f"c{index}", "client_secret": secret} for index, secret in enumerate(secrets)]


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 2, done
    assert "canary" not in done.stderr
    return dict(line.split(": ", 1) for line in done.stderr.splitlines()[:-1])


def test_every_reference_that_is_slightly_wrong_is_a_fault_with_its_path(tmp_path: Path) -> None:
    found = faults(run(tmp_path, dumped(clients=clients(AS_TEXT))))
    assert set(found) == {f"clients[{index}].client_secret" for index in range(len(AS_TEXT))}
    assert [text for text in found.values() if TO_WRITE not in text] == []


def test_nothing_starts_with_one(tmp_path: Path) -> None:
    for text in ("${SECRET}", "{{ env.X }}", "changeme"):
        done = run(tmp_path, dumped(clients=clients([text])), "serve")
        assert list(faults(done)) == ["clients[0].client_secret"]


def test_each_kind_of_secret_is_looked_at(tmp_path: Path) -> None:
    key = {"kid": "1", "alg": "HS256"}
    text = dumped(
        store={"url": "redis://:$(REDIS_PASSWORD)@127.0.0.1/0"},
        tokens={
            "issuer": "https://{{ host }}",
            "audience": "$env:AUDIENCE",
            "signing_keys": [
                {**key, "secret": "${ORDERS_API_SIGNING_KEY_V1}"},
                {"kid": "2", "alg": "ES256", "private_key": "{{ env.CANARY }}"},
                {"kid": "3", "alg": "HS256", "secret": "__ORDERS_API_SIGNING_KEY_VERSION_1__"},
                {"kid": "4", "alg": "HS256", "secret": "a-string-secret-at-least-256-bits-long"},
                {"kid": "5", "alg": "ES256", "public_key": "$PUBLIC_KEY"},
            ],
        },
        clients=[
            {"client_id": "a", "client_secret_hash": "$SECRET_HASH"},
            {"client_id": "b", "client_secret_hashes": ["{{ a }}", "%HASH%"]},
            {"client_id": "c", "public_key": "$PUBLIC_KEY"},
            {"client_id": "d", "client_secret": {"secretKeyRef": {"name": "canary", "key": "x"}}},
        ],
        users=[{"username": "anna", "password_hash": "<hash>"}],
        login={"site": "Orders of ${SITE}", "scopes": {"${SCOPE}": "x"}},
    )
    found = faults(run(tmp_path, text))
    assert sorted(found) == sorted(
        [
            "store.url", "tokens.issuer", "tokens.audience", "tokens.signing_keys[0].secret", "tokens.signing_keys[1].private_key",
            "tokens.signing_keys[2].secret", "tokens.signing_keys[3].secret", "tokens.signing_keys[4].public_key",
            "clients[0].client_secret_hash", "clients[1].client_secret_hashes[0]", "clients[1].client_secret_hashes[1]",
            "clients[2].public_key", "clients[3].client_secret", "users[0].password_hash", "login.site", "login.scopes",
        ]
    )  # fmt: skip
    assert [path for path, text in found.items() if TO_WRITE not in text] == [
        "login.scopes",
        "tokens.signing_keys[3].secret",
    ]


@pytest.mark.parametrize("value", ["${SECRET}", "{{ env.X }}", "$SECRET", "changeme", "", "  ", "\n\n"])
def test_what_a_variable_or_a_file_gave_is_looked_at_too(tmp_path: Path, value: str) -> None:
    """A template that was never filled in."""
    (tmp_path / "secret").write_text(value + "\n")
    found = faults(run(tmp_path, dumped(clients=clients(["${env:GIVEN}", "${file:secret}"])), GIVEN=value))
    assert list(found) == ["clients[0].client_secret", "clients[1].client_secret"]


def test_a_password_that_is_empty_is_a_fault(tmp_path: Path) -> None:
    found = faults(run(tmp_path, dumped(store={"url": "redis://:${env:GIVEN}@127.0.0.1/0"}), GIVEN=""))
    assert list(found) == ["store.url"]


@pytest.mark.parametrize("tail", ["!env X", "!vault X", "{{ env.X }}", "{{ .Values.x }}", "%X%", "@X@", "{% env X %}"])
def test_what_yaml_makes_of_them_says_what_to_write(tmp_path: Path, tail: str) -> None:
    """Without quotes some are a tag, a section within a section, or no YAML at all."""
    text = dumped(clients=clients(["PLACE"])).replace("PLACE", tail)
    assert f"client_secret: {tail}\n" in text
    done = run(tmp_path, text)
    assert done.returncode == 2
    assert TO_WRITE in done.stderr


MISTAKEN = [
    (hash_secret("s", bytes(16), "sha256"), "client_secret_hash"),
    (hash_secret("s", bytes(16), "scrypt"), "client_secret_hash"),
    ("$argon2id$v=19$m=65536,t=3,p=1$x$y", "client_secret_hash"),
    ("$2b$12$" + "a" * 53, "client_secret_hash"),
    ("pbkdf2_sha256$1000$x$y", "client_secret_hash"),
    ("{SSHA}abcdef", "client_secret_hash"),
    ("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", "PEM"),
    ("changeme", "openssl rand -hex 32"),
    ("gX1fBat3bV", "openssl rand -hex 32"),
]


def test_what_is_no_secret_in_the_place_of_one_is_a_fault(tmp_path: Path) -> None:
    found = faults(run(tmp_path, dumped(clients=clients([text for text, _ in MISTAKEN]))))
    assert len(found) == len(MISTAKEN)
    assert [
        says for says, text in zip((says for _, says in MISTAKEN), found.values(), strict=True) if says not in text
    ] == []


def test_secrets_with_odd_characters_are_taken_as_they_are(tmp_path: Path) -> None:
    secrets = ["pa$$word", "100%", "a{b}c", "<3 you", "$ecret", "{", "x@y", "#1", "s3cret", "0" * 32]
    (tmp_path / "secret").write_text("from ${a file\n")
    (tmp_path / "secret").chmod(0o600)
    done = run(tmp_path, dumped(clients=clients([*secrets, "${env:GIVEN}", "${file:secret}"])), GIVEN="a ${b} $c {{d}}")
    assert (done.returncode, warnings(done)) == (0, [])


# Routes.


def routed(*paths: str, **rule: Any) -> str:
    return dumped(routes=[{"path": path, **rule} for path in paths])


def test_patterns_of_other_tools_are_faults_that_say_what_to_write(tmp_path: Path) -> None:
    expected = {
        "/things/{id}": "/things/*", "/things/:id": "/things/*", "/things/<id>": "/things/*", "/a/(.*)": "/a/**", "^/a$": "/a", "~ /a": "/a",
        "/a/[0-9]+": "/a/*", "/a?": "/a", "/files/{path:path}": "/files/**",
    }  # fmt: skip
    found = faults(run(tmp_path, routed(*expected)))
    assert list(found) == [f"routes[{index}].path" for index in range(len(expected))]
    for text, pattern in zip(found.values(), expected.values(), strict=True):
        assert text.endswith(f": write {pattern}"), text
    assert list(faults(run(tmp_path, routed("/things/{id}"), "serve"))) == ["routes[0].path"]


def test_a_door_beside_a_closed_one_is_a_warning(tmp_path: Path) -> None:
    routes = [
        {"path": "/admin*", "access": "deny"},
        {"path": "/**", "access": "public"},
        {"path": "/late", "access": "deny"},
    ]
    done = run(tmp_path, dumped(routes=routes))
    assert done.returncode == 0
    assert [line.partition(": ")[2].partition(":")[0] for line in warnings(done)] == [
        "routes[0].path",
        "routes[2].path",
    ]
    assert "write /admin/** as well" in done.stderr
    assert "routes[2].path: never decides: routes[1] stands before it" in done.stderr


def test_literal_paths_are_no_faults(tmp_path: Path) -> None:
    done = run(
        tmp_path, routed("/things/*:cancel", "/Orders(5)", "/odata/$metadata", "/users/@me", "/a:b", access="public")
    )
    assert (done.returncode, warnings(done)) == (0, [])


def test_what_it_says_to_write_closes_the_door(tmp_path: Path) -> None:
    routes = [{"path": path, "access": "deny"} for path in ("/admin*", "/admin/**")] + [
        {"path": "/**", "access": "public"}
    ]
    with Upstream() as upstream, running(tmp_path, upstream.url, routes=routes) as sidecar:
        for path in ("/admin", "/admins", "/admin/", "/admin/x", "/admin/x/y"):
            assert exchange(sidecar.address, f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()).status == 403
        assert sidecar.token("reporting", SECRET)
        assert upstream.take() == []
