"""The section `tokens`: times and the issuer."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import SettingsError
from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a token for two days": (changed(tokens__access_token_ttl="48h"), "tokens.access_token_ttl: must be at most 24h"),
    "a token for no time": (changed(tokens__access_token_ttl="0s"), "tokens.access_token_ttl: must be a whole"),
    "half a second": (changed(tokens__access_token_ttl="1500ms"), "tokens.access_token_ttl: must be a whole"),
    "much leeway": (changed(tokens__leeway="31s"), "tokens.leeway: must be at most 30s"),
    "no key": (changed(tokens__signing_keys=[]), "tokens.signing_keys: name at least one"),
    "an issuer with a quote": (changed(tokens__issuer='a"b'), "tokens.issuer: use printable ASCII"),
    "an empty issuer": (changed(tokens__issuer=""), "tokens.issuer: use printable ASCII"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


BAD_ISSUERS = [
    "https://", "https:/issuer", "HTTPS://issuer", "https://u:p@issuer", "https://issuer/?a=b", "https://issuer?",
    "https://issuer#", "https://issuer/a//b", "https://issuer//", "https://issuer/../a", "https://issuer/a/.",
    "https://issuer/a%2Fb", "https://issuer/a;b", "https://issuer/*", "https://issuer:99999", "https://issuer:0",
    "http://[::1",
]  # fmt: skip


@pytest.mark.parametrize("issuer", BAD_ISSUERS)
def test_an_issuer_whose_metadata_nobody_finds_is_refused(file: Path, issuer: str) -> None:
    with pytest.raises(SettingsError, match=r"^tokens\.issuer: "):
        settings_of(file, changed(tokens__issuer=issuer))


@pytest.mark.parametrize(
    "issuer", ["i", "urn:example:issuer", "https://issuer/", "http://localhost:3030/a/b.c/", "https://[::1]:8443/x"]
)
def test_accepted_issuers(file: Path, issuer: str) -> None:
    assert settings_of(file, changed(tokens__issuer=issuer)).tokens.issuer == issuer
