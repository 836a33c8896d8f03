"""The sections `listen` and `admin`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no address": (changed(listen="3030"), "listen: write an address as HOST:PORT"),
    "no address in the section": (changed(listen__address=3030), "listen.address: write an address as HOST:PORT"),
    "a number": (changed(listen=3030), "listen: must be a section with keys"),
    "a text for a truth": (changed(listen__proxy_protocol="yes"), "listen.proxy_protocol: "),
    "a short token": (changed(admin__token="canary" * 5), "admin.token: must be 32 to 512 characters long"),
    "a long token": (changed(admin__token="canary" * 100), "admin.token: must be 32 to 512 characters long"),
    "a token with a space": (changed(admin__token="canary " * 6), "admin.token: must be printable ASCII"),
    "a token of other letters": (changed(admin__token="canaryé" * 6), "admin.token: must be printable ASCII"),
    "a reference that nothing filled in": (changed(admin__token="${{ secrets.CANARY_OF_MORE_THAN_32 }}"), "admin.token: "),
    "a hash": (changed(admin__token="$argon2id$v=19$m=65536,t=3,p=1$canary$canary"), "admin.token: is a hash"),
    "a number for a token": (changed(admin__token=1), "admin.token: must be a string"),
    "no address for the admin": (changed(admin__listen=9464), "admin.listen: write an address as HOST:PORT"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    assert_refused(file, *REFUSED[case])


def test_the_address_alone_is_enough(file: Path) -> None:
    alone, section = changed(listen="127.0.0.1:1"), changed(listen={"address": "127.0.0.1:1"})
    assert settings_of(file, alone).listen == settings_of(file, section).listen


def test_a_token_is_kept_and_never_shown(file: Path) -> None:
    settings = settings_of(file, changed(admin__token="canary" * 6))
    assert settings.admin.token is not None
    assert settings.admin.token.get_secret_value() == "canary" * 6
    assert "canary" not in repr(settings)
