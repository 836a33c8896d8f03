"""The settings as an operator sees them: every key, and nothing secret."""

from pathlib import Path

import pytest

from sidecar.config.masked import HIDDEN, TOP, masked, masked_store
from sidecar.config.settings import Settings
from sidecar.core.oauth.users import hash_password
from tests.support.settings import CLIENT, changed, settings_of

CANARY = "canary" * 8
SECRETS = {
    "admin": {"token": CANARY},
    "store": {"url": f"rediss+sentinel://{CANARY}:{CANARY}@h1,h2/main/2?sentinel_password={CANARY}&ssl_ca_certs=/canary.pem"},
    "clients": [
        {"client_id": "a", "client_secret": CANARY, "scope": "read write"},
        {"client_id": "b", "client_secret_hash": "sha256$soqnBjIL3Ke814SmFfYvgQ$5oyew70Xt3oqZ9tHi9Z0YOJ1gKORBQwTFERukT9u0RA"},
    ],
    "users": [{"username": "anna", "password_hash": hash_password("secret")}],
}  # fmt: skip


def values(settings: Settings) -> dict[str, str]:
    return {value.path: value.text for section in masked(settings).values() for value in section}


def test_no_secret_is_shown(file: Path) -> None:
    document = changed(**SECRETS)
    document["tokens"]["signing_keys"][0]["secret"] = CANARY
    settings = settings_of(file, document)
    shown = values(settings)
    for text in ("canary", "soqnBjIL", "5oyew70X", "argon2id"):
        assert text not in str(shown), text
    for path in (
        "admin.token", "clients[a].client_secret", "clients[b].client_secret_hash", "users[anna].password_hash",
        "tokens.signing_keys[1].secret",
    ):  # fmt: skip
        assert shown[path] == HIDDEN, path
    assert shown["store.url"] == masked_store(settings) == "rediss+sentinel://h1:26379,h2:26379/main/2"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("listen.address", "0.0.0.0:3030"),
        ("workers", "1"),
        ("admin.token", "not set"),
        ("store.url", "memory://"),
        ("store.on_outage", "deny"),
        ("tokens.access_token_ttl", "30m"),
        ("tokens.leeway", "0s"),
        ("timeouts.idle", "75s"),
        ("limits.headers", "32KiB"),
        ("limits.body", "not set"),
        ("throttling.failures_per_client_and_address", "30/1m"),
        ("throttling.requests_per_client", "off"),
        ("credentials.places", "bearer, header, query, body"),
        ("streams.end_with_token", "true"),
        ("tls", "not set"),
        ("routes", "none"),
        ("login.scopes", "none"),
        ("upstream.url", "http://127.0.0.1:3080"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_in_the_file(file: Path, path: str, text: str) -> None:
    assert values(settings_of(file, changed()))[path] == text


def test_a_set_value_is_written_as_in_the_file_too(file: Path) -> None:
    document = changed(
        store__on_outage={"allow_cached": "90s"},
        limits__body="10MiB",
        routes=[{"path": "/a", "scope": "a b", "on_outage": {"allow_cached": "5m"}}],
        trusted_proxies=["10.0.0.0/8"],
    )
    document["tokens"]["signing_keys"][0]["not_before"] = "2026-11-24"
    shown = values(settings_of(file, document))
    assert shown["store.on_outage"] == "allow_cached: 90s"
    assert shown["limits.body"] == "10MiB"
    assert (shown["routes[0].scope"], shown["routes[0].on_outage"]) == ("a b", "allow_cached: 5m")
    assert shown["trusted_proxies"] == "10.0.0.0/8"
    assert shown["tokens.signing_keys[1].not_before"] == "2026-11-24T00:00:00Z"


def test_what_is_not_the_default_is_marked(file: Path) -> None:
    settings = settings_of(file, changed(timeouts__idle="90s", workers=1))
    marked = {value.path for section in masked(settings).values() for value in section if value.changed}
    assert "timeouts.idle" in marked
    assert not {"timeouts.connect", "workers", "login.scopes"} & marked


def test_what_is_in_no_section_comes_first(file: Path) -> None:
    sections = masked(settings_of(file, changed(clients=[CLIENT])))
    assert next(iter(sections)) == TOP
    assert {"workers", "compat", "users", "tls"} <= {value.path for value in sections[TOP]}
    assert {"listen", "clients", "tokens"} <= sections.keys()
    assert not {"workers", "users"} & sections.keys()


def test_a_long_list_is_cut(file: Path) -> None:
    clients = [{**CLIENT, "client_id": f"c{number}"} for number in range(60)]
    shown = values(settings_of(file, changed(clients=clients)))
    assert "clients[c49].client_id" in shown
    assert "clients[c50].client_id" not in shown
    assert shown["clients[…]"] == "and 10 more"
