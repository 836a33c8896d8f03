"""cli.moments: moments as an operator writes and reads them."""

import click
import pytest

from sidecar.cli.moments import Moment, readable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-02", 1767312000),
        ("2026-01-02T03:04:05Z", 1767323045),
        ("2026-01-02T03:04:05.5+01:00", 1767319445.5),
        ("1700000000", 1700000000),
        ("0", 0),
    ],
)
def test_a_moment_is_a_date_a_time_with_its_offset_or_epoch_seconds(text: str, seconds: float) -> None:
    assert Moment().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "now", "-5", "1e9", "\u0661", "2026-01-02T03:04:05", "2026-13-01", "02.01.2026", "2026-01-02 "]
)
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(click.BadParameter, match="2026-11-24T08:30:00Z"):
        Moment().convert(text, None, None)


def test_a_default_is_taken_as_it_is() -> None:
    assert Moment().convert(5.0, None, None) == 5.0


def test_a_moment_is_shown_in_utc() -> None:
    assert readable(1700000000.9) == "2023-11-14 22:13:20"
