"""The section `timeouts`."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a number for a duration": (changed(timeouts__idle=75), "timeouts.idle: write a duration with its unit"),
    "no time at all": (changed(timeouts__idle="0s"), "timeouts.idle: must be more than zero"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


@pytest.mark.parametrize("name", ["request_header", "idle", "connect", "response", "stream"])
def test_each_is_a_time_with_its_unit(file: Path, name: str) -> None:
    assert getattr(settings_of(file, changed(timeouts={name: "1.5m"})).timeouts, name) == 90
    assert_refused(file, changed(timeouts={name: "0s"}), f"timeouts.{name}: must be more than zero")
