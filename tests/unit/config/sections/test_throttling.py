"""The section `throttling`."""

from pathlib import Path

import pytest

from sidecar.core.throttling import Rate
from tests.support.settings import changed, faults_of, settings_of


@pytest.mark.parametrize(
    ("text", "rate"),
    [("30/1m", Rate(30, 60)), ("1/500ms", Rate(1, 0.5)), ("5/1.5h", Rate(5, 5400)), ("off", None), (False, None)],
)
def test_a_rate_is_written_in_these_ways(file: Path, text: object, rate: Rate | None) -> None:
    assert settings_of(file, changed(throttling__failures_per_client=text)).throttling.failures_per_client == rate


@pytest.mark.parametrize(
    "text", ["30", "0/1m", "30/0s", "30/m", "-1/1m", "x/1m", "1.5/1m", "30/1m/1m", 30, 0, True, ""]
)
def test_what_is_no_rate_is_a_fault(file: Path, text: object) -> None:
    (fault,) = faults_of(file, changed(throttling__failures_per_client=text))
    assert fault.startswith("throttling.failures_per_client: write how many")
