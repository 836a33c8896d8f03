"""Values as they stand in the file."""

import pytest

from sidecar.config.written import as_in_the_file
from sidecar.core.throttling import Rate


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("duration", 0.0, "0s"),
        ("duration", 0.5, "0.5s"),
        ("duration", 90.0, "90s"),
        ("duration", 1800.0, "30m"),
        ("duration", 14 * 86400.0, "14d"),
        ("size", 64 * 1024, "64KiB"),
        ("size", 1000, "1000B"),
        ("on_outage", 0.0, "deny"),
        ("on_outage", 300.0, {"allow_cached": "5m"}),
        ("rate", Rate(5, 60.0), "5/1m"),
        ("rate", None, "off"),
        ("scope", ("a", "b"), "a b"),
        (None, True, True),
    ],
)
def test_defaults_stand_as_in_the_file(kind: str | None, value: object, written: object) -> None:
    assert as_in_the_file(kind, value) == written
