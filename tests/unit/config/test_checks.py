"""Checks that span sections."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import SettingsError
from sidecar.core.oauth.users import hash_password
from tests.support.keys import PEMS, public_pem
from tests.support.settings import CLIENT, KEY, assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "workers without a shared store": (changed(workers=2), "workers: more than one worker needs a store they share"),
    "a kid twice": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": KEY}] * 2),
        "tokens.signing_keys[1].kid: is the same as tokens.signing_keys[0].kid",
    ),
    "a client twice": (changed(clients=[CLIENT, CLIENT]), "clients[1].client_id: is the same as clients[0].client_id"),
    "ourselves": (changed(upstream__url="http://127.0.0.1:3030"), "upstream.url: is the sidecar's own listener (listen)"),
    "ourselves by name": (changed(upstream__url="http://localhost:3030"), "upstream.url: is the sidecar's own"),
    "our admin listener": (
        changed(upstream__url="http://localhost:9464"), "upstream.url: is the sidecar's own listener (admin.listen)",
    ),
    "a user named like a client": (
        changed(
            clients=[{"client_id": "anna", "client_secret": "s"}], users=[{"username": "anna", "password_hash": hash_password("long enough")}]
        ),
        "users[0].username: is the same as clients[0]",
    ),
    "ourselves among others": (changed(upstream__url=["http://h", "http://localhost:3030"]), "upstream.url: is the sidecar's"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "workers that share": changed(workers=4, store={"url": "redis://h"}),
    "an upstream on our port elsewhere": changed(upstream__url="http://10.0.0.1:3030", listen="127.0.0.1:3030"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])


HS = {"kid": "h", "alg": "HS256", "secret": "canary-" * 10}
ES = {"kid": "e", "alg": "ES256", "private_key": PEMS["ES256"]}
PUBLIC = {"kid": "p", "alg": "RS256", "public_key": public_pem(PEMS["RS256"])}


def test_a_start_without_a_key_that_may_sign_is_refused(file: Path) -> None:
    """Only for who is about to sign: what looks at keys or tokens must work then, too."""
    keys = changed(tokens__signing_keys=[{**HS, "not_after": "2026-01-01"}, {**ES, "not_before": "2026-02-01"}, PUBLIC])
    between = datetime(2026, 1, 15, tzinfo=UTC).timestamp()
    with pytest.raises(SettingsError, match=r"^tokens.signing_keys: no key may sign now"):
        settings_of(file, keys, between)
    assert settings_of(file, keys)
    assert settings_of(file, keys, between - 20 * 86400)
    assert settings_of(file, keys, between + 20 * 86400)
