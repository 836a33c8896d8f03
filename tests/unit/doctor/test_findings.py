"""What the findings come to together."""

import pytest

from sidecar.doctor.findings import Status, bad, counts, doubtful, good, skipped, worst

ALL = {
    "ok": good("a", "b"),
    "warning": doubtful("a", "b", "c"),
    "failed": bad("a", "b", "c"),
    "skipped": skipped("a", "b"),
}


@pytest.mark.parametrize("status", ALL)
def test_each_has_its_status(status: str) -> None:
    assert ALL[status].status.value == status


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "ok"), ("ok skipped", "ok"), ("ok warning skipped", "warning"), ("warning failed ok", "failed")],
)
def test_the_worst_counts(given: str, expected: str) -> None:
    assert worst([ALL[each] for each in given.split()]).value == expected


def test_they_are_counted() -> None:
    assert counts([*ALL.values(), ALL["ok"]]) == {
        Status.OK: 2, Status.WARNING: 1, Status.FAILED: 1, Status.SKIPPED: 1,
    }  # fmt: skip
