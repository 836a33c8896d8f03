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
    "no address for the admin": (changed(admin__listen=9464), "admin.listen: write an address as HOST:PORT"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    assert_refused(file, *REFUSED[case])


def test_the_address_alone_is_enough(file: Path) -> None:
    alone, section = changed(listen="127.0.0.1:1"), changed(listen={"address": "127.0.0.1:1"})
    assert settings_of(file, alone).listen == settings_of(file, section).listen
