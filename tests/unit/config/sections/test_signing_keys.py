"""The list `tokens.signing_keys`: what is accepted, what is refused, and how a fault reads."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.assembly.keys import key_ring
from tests.support.keys import PEMS, public_pem
from tests.support.settings import KEY, assert_refused, changed, faults_of, settings_of

CANARY = "canary-" * 10
HS = {"kid": "h", "alg": "HS256", "secret": CANARY}
ES = {"kid": "e", "alg": "ES256", "private_key": PEMS["ES256"]}
PUBLIC = {"kid": "p", "alg": "RS256", "public_key": public_pem(PEMS["RS256"])}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a short secret": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": KEY[1:]}]),
        "tokens.signing_keys[0].secret: must be at least 32 bytes long",
    ),
    "a short secret for HS512": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS512", "secret": KEY}]),
        "tokens.signing_keys[0].secret: must be at least 64 bytes long",
    ),
    "a public key for a secret": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": f"-----BEGIN PUBLIC KEY-----\n{KEY}"
                                       "\n-----END PUBLIC KEY-----"}]),
        "tokens.signing_keys[0].secret: is the text of a PEM",
    ),
    "no algorithm": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "none", "secret": KEY}]),
        "tokens.signing_keys[0].alg: must be one of 'HS256'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "a kid like a date": changed(tokens__signing_keys=[{"kid": "2026-11", "alg": "HS256", "secret": KEY}]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])


OF_KEYS: dict[str, tuple[list[dict[str, Any]], str]] = {
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


@pytest.mark.parametrize("case", OF_KEYS)
def test_a_fault_of_a_key_has_its_path_and_shows_no_key(file: Path, case: str) -> None:
    keys, expected = OF_KEYS[case]
    (fault,) = faults_of(file, changed(tokens__signing_keys=keys))
    assert fault.startswith(f"tokens.signing_keys{expected}"), fault
    assert "canary" not in fault
    assert "-----BEGIN PRIVATE" not in fault.replace("(-----BEGIN PRIVATE KEY-----)", "")


def test_keys_come_from_files_beside_the_configuration(file: Path) -> None:
    (file.parent / "e.pem").write_text(PEMS["ES256"])
    ring = key_ring(
        settings_of(file, changed(tokens__signing_keys=[{**ES, "private_key": "${file:e.pem}"}, HS, PUBLIC])).tokens
    )
    assert [key.can_sign for key in ring] == [True, True, False]
    assert [key["kid"] for key in ring.public_jwks()] == ["e", "p"]


def test_no_representation_shows_a_key(file: Path) -> None:
    settings = settings_of(file, changed(tokens__signing_keys=[HS, ES]))
    text = repr(settings) + settings.model_dump_json() + repr(key_ring(settings.tokens))
    assert "canary" not in text
    assert PEMS["ES256"][30:60] not in text
