"""ops.catalogue: every metric has a good name, is documented, and has a bounded number of series."""

import re

import pytest

from sidecar.core.reasons import Reason
from sidecar.ops.catalogue import COUNTERS, FAILURES, GAUGES, HISTOGRAMS, SEPARATOR, TIMES, key
from tests.support.documents import ROOT

FAMILIES = (*COUNTERS, *HISTOGRAMS, *GAUGES, *TIMES)
BOUNDED = {
    "alg", "cause", "code", "decision", "endpoint", "grant_type", "kind", "of", "operation", "plane", "process", "queue",
    "reason", "result", "secret", "state",
}  # fmt: skip
CONFIGURED = {"address", "client_id", "kid"}


def test_names_are_unique() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_says_the_unit_and_a_text_what_it_is(family: object) -> None:
    name, text = family.name, family.text  # type: ignore[attr-defined]
    assert re.fullmatch(r"sidecar_[a-z_]+[a-z]", name)
    assert name.endswith("_total") == (family in COUNTERS)
    assert not (family in HISTOGRAMS and not name.endswith("_seconds"))
    assert text[0].isupper() or text[0].isdigit()
    assert text.endswith(".")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_labels_are_bounded_and_the_free_one_comes_last(family: object) -> None:
    """A configured name may hold anything, so that only the last part of a key may be one."""
    *first, last = family.labels or ("of",)  # type: ignore[attr-defined]
    assert set(first) <= BOUNDED
    assert last in BOUNDED | CONFIGURED


@pytest.mark.parametrize("family", [*COUNTERS, *HISTOGRAMS], ids=lambda family: family.name)
def test_what_is_present_from_the_start_fits_the_labels(family: object) -> None:
    labels, present = family.labels, family.present  # type: ignore[attr-defined]
    assert len(set(present)) == len(present)
    assert {each.count(SEPARATOR) for each in present} <= {max(0, len(labels) - 1)}
    assert labels or present in ((), ("",))


def test_every_failure_has_a_counter() -> None:
    present = {family.name: family.present for family in COUNTERS}
    for reason in Reason:
        series = present[FAILURES[reason.plane]]
        assert reason.word in series or key(reason.plane, reason.word) in series


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_in_the_reference_with_its_labels(family: object) -> None:
    section = (ROOT / "docs/reference.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    found = re.search(rf"`{family.name}(?:\{{([a-z_,]+)\}})?`", section)  # type: ignore[attr-defined]
    assert found, "see docs/reference.md"
    assert set((found[1] or "").split(",")) - {""} == set(family.labels)  # type: ignore[attr-defined]
