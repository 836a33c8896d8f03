"""Which material a signing key has: told to any caller."""

from typing import Any

import pytest

from sidecar.core.jose.key_rules import KeyMaterial, key_faults
from tests.support.keys import PEMS, public_pem

CANARY = "canary-" * 10
ES = PEMS["ES256"]
FAULTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "nothing": ({"alg": "HS256"}, None, "HS256 needs secret, and nothing else"),
    "nothing for a pair": ({"alg": "EdDSA"}, None, "EdDSA needs private_key, or public_key"),
    "a secret for a pair": ({"alg": "ES256", "secret": CANARY}, None, "ES256 needs private_key"),
    "both halves": ({"alg": "ES256", "private_key": ES, "public_key": public_pem(ES)}, None, "ES256 needs private_key"),
    "a pair for a secret": ({"alg": "HS256", "private_key": ES}, None, "HS256 needs secret"),
    "a short secret": ({"alg": "HS384", "secret": "canary" + "x" * 41}, "secret", "must be at least 48 bytes long"),
    "a short secret for what is not known": ({"secret": "canary"}, "secret", "must be at least 32 bytes long"),
    "no text": ({"alg": "HS256", "secret": CANARY + "\ud800"}, "secret", "must be text that UTF-8 can hold"),
    "a key as a secret": ({"alg": "HS256", "secret": public_pem(ES)}, "secret", "is the text of a PEM"),
    "another curve": ({"alg": "ES384", "private_key": ES}, "private_key", "does not fit alg ES384"),
    "no PEM": ({"alg": "ES256", "public_key": CANARY}, "public_key", "is no public key in PEM form"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_its_field_and_shows_no_key(case: str) -> None:
    fields, field, begins = FAULTS[case]
    (fault,) = key_faults(KeyMaterial(**fields))
    assert fault.field == field
    assert fault.message.startswith(begins)
    assert "canary" not in fault.message + repr(KeyMaterial(secret=CANARY, private_key=CANARY))


@pytest.mark.parametrize(
    "fields",
    [
        {"alg": "HS512", "secret": CANARY},
        {"alg": "ES256", "private_key": ES},
        {"alg": "RS256", "public_key": public_pem(PEMS["RS256"])},
        {"secret": CANARY},
    ],
)
def test_what_fits_has_no_fault(fields: dict[str, Any]) -> None:
    assert key_faults(KeyMaterial(**fields)) == []


def test_nothing_is_derived_from_a_malformed_field() -> None:
    assert key_faults(KeyMaterial(alg="HS256"), ["secret"]) == []
    assert [fault.field for fault in key_faults(KeyMaterial(secret="x"), ["alg"])] == ["secret"]
