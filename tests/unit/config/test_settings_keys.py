"""The settings of keys and issuer: what is accepted, what is refused, and how a fault reads."""

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticCustomError

from sidecar.assembly.keys import key_ring
from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Settings
from sidecar.config.values import parse_moment
from tests.support.keys import PEMS, public_pem

CANARY = "canary-" * 10
HS = {"kid": "h", "alg": "HS256", "secret": CANARY}
ES = {"kid": "e", "alg": "ES256", "private_key": PEMS["ES256"]}
PUBLIC = {"kid": "p", "alg": "RS256", "public_key": public_pem(PEMS["RS256"])}


def document(*keys: dict[str, Any], issuer: str = "https://issuer") -> dict[str, Any]:
    return {
        "upstream": {"url": "http://127.0.0.1:3080"},
        "tokens": {"issuer": issuer, "audience": "a", "signing_keys": copy.deepcopy(list(keys))},
    }


def loaded(folder: Path, content: dict[str, Any], now: float | None = None) -> Settings:
    file = folder / "sidecar.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(file, now=now)


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a secret for ES256": ([{**HS, "alg": "ES256"}], "[0]: ES256 needs private_key, or public_key"),
    "a private key for HS256": ([{**ES, "alg": "HS256"}], "[0]: HS256 needs secret, and nothing else"),
    "both halves": ([{**PUBLIC, "private_key": PEMS["RS256"]}], "[0]: RS256 needs private_key, or public_key"),
    "a secret beside a key": ([{**ES, "secret": CANARY}], "[0]: ES256 needs private_key"),
    "nothing": ([{"kid": "e", "alg": "ES256"}], "[0]: ES256 needs private_key"),
    "nothing for HS256": ([{"kid": "e", "alg": "HS256"}], "[0]: HS256 needs secret"),
    "a key of another kind": ([{**ES, "private_key": PEMS["RS256"]}], "[0].private_key: does not fit alg ES256"),
    "a text for a key": ([{**ES, "private_key": CANARY}], "[0].private_key: is no private key in PEM form"),
    "a private key as the public one": ([ES, {**PUBLIC, "public_key": PEMS["RS256"]}], "[1].public_key: is a private key"),
    "only public keys": ([PUBLIC], ": no key can sign: one must have a secret or a private_key"),
    "a window upside down": ([{**ES, "not_before": "2026-12-01", "not_after": "2026-12-01"}], "[0]: not_after must be later"),
    "a number for a time": ([{**ES, "not_before": 1800000000}], "[0].not_before: write a date such as"),
    "an algorithm that is not ours": ([{**ES, "alg": "ES512"}], "[0].alg: must be one of 'HS256'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_of_a_key_has_its_path_and_shows_no_key(tmp_path: Path, case: str) -> None:
    keys, expected = REFUSED[case]
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, document(*keys))
    (fault,) = map(str, caught.value.faults)
    assert fault.startswith(f"tokens.signing_keys{expected}"), fault
    assert "canary" not in fault
    assert "-----BEGIN PRIVATE" not in fault.replace("(-----BEGIN PRIVATE KEY-----)", "")


def test_keys_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "e.pem").write_text(PEMS["ES256"])
    ring = key_ring(loaded(tmp_path, document({**ES, "private_key": "${file:e.pem}"}, HS, PUBLIC)).tokens)
    assert [key.can_sign for key in ring] == [True, True, False]
    assert [key["kid"] for key in ring.public_jwks()] == ["e", "p"]


def test_no_representation_shows_a_key(tmp_path: Path) -> None:
    settings = loaded(tmp_path, document(HS, ES))
    text = repr(settings) + settings.model_dump_json() + repr(key_ring(settings.tokens))
    assert "canary" not in text
    assert PEMS["ES256"][30:60] not in text


def test_a_start_without_a_key_that_may_sign_is_refused(tmp_path: Path) -> None:
    """Only for who is about to sign: what looks at keys or tokens must work then, too."""
    keys = document({**HS, "not_after": "2026-01-01"}, {**ES, "not_before": "2026-02-01"}, PUBLIC)
    between = datetime(2026, 1, 15, tzinfo=UTC).timestamp()
    with pytest.raises(SettingsError, match=r"^tokens.signing_keys: no key may sign now"):
        loaded(tmp_path, keys, between)
    assert loaded(tmp_path, keys)
    assert loaded(tmp_path, keys, between - 20 * 86400)
    assert loaded(tmp_path, keys, between + 20 * 86400)


MOMENTS = {
    "2026-11-24": "2026-11-24T00:00:00+00:00",
    "2026-11-24T08:30:00Z": "2026-11-24T08:30:00+00:00",
    "2026-11-24t08:30:00z": "2026-11-24T08:30:00+00:00",
    "2026-11-24T08:30:00.5-02:00": "2026-11-24T10:30:00.500000+00:00",
}
NO_MOMENTS = [
    "", "2026-11", "2026-11-31", "2026-11-24T08:30:00", "2026-11-24 08:30:00Z", "2026-11-24T25:00:00Z", "20261124",
    "2026-W48-2", "tomorrow", 20261124, 1.5, None, [], "٢026-11-24", "2026-11-24\n",
]  # fmt: skip


@pytest.mark.parametrize("text", MOMENTS)
def test_moments(text: str) -> None:
    assert parse_moment(text) == datetime.fromisoformat(MOMENTS[text]).timestamp()


@pytest.mark.parametrize("value", NO_MOMENTS)
def test_what_is_no_moment_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="RFC 3339"):
        parse_moment(value)


BAD_ISSUERS = [
    "https://", "https:/issuer", "HTTPS://issuer", "https://u:p@issuer", "https://issuer/?a=b", "https://issuer?",
    "https://issuer#", "https://issuer/a//b", "https://issuer//", "https://issuer/../a", "https://issuer/a/.",
    "https://issuer/a%2Fb", "https://issuer/a;b", "https://issuer/*", "https://issuer:99999", "https://issuer:0",
    "http://[::1",
]  # fmt: skip


@pytest.mark.parametrize("issuer", BAD_ISSUERS)
def test_an_issuer_whose_metadata_nobody_finds_is_refused(tmp_path: Path, issuer: str) -> None:
    with pytest.raises(SettingsError, match=r"^tokens\.issuer: "):
        loaded(tmp_path, document(HS, issuer=issuer))


@pytest.mark.parametrize(
    "issuer", ["i", "urn:example:issuer", "https://issuer/", "http://localhost:3030/a/b.c/", "https://[::1]:8443/x"]
)
def test_accepted_issuers(tmp_path: Path, issuer: str) -> None:
    assert loaded(tmp_path, document(HS, issuer=issuer)).tokens.issuer == issuer
