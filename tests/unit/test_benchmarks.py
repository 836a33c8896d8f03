"""What of the benchmark needs no proxy: the choices on the command line, the page and its picture."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import options_of
from benchmarks.page import page, read, write
from benchmarks.plot import svg
from benchmarks.report import Bar, Findings, Goal, Length
from benchmarks.workloads import WORKLOADS

BARS = [
    Bar("nginx", (Length("ingress", 16, 15, 17, 0), Length("repeat", 12, 11, 14, 0)), ours=False),
    Bar("sidecar <ours>", (Length("ingress", 30, 29, 31, 0.5),), ours=True),
]
FOUND = {"workloads": Findings(["a table"], [Goal("a goal", 2, 1)], bars=BARS)}


def test_every_workload_is_measured_unless_some_are_named() -> None:
    assert options_of([]).workloads == tuple(workload.name for workload in WORKLOADS)
    assert options_of(["--workloads", "ingress, post"]).workloads == ("ingress", "post")


@pytest.mark.parametrize("option", ["--workloads", "--sections"])
def test_a_name_that_does_not_exist_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of([option, "ingres"])
    assert "ingres" in capsys.readouterr().err


def test_hand_written_parts_stay_in_their_places(tmp_path: Path) -> None:
    """However often the page is written anew."""
    (tmp_path / "RESULTS.md").write_text(
        "# Results\n\n## Missed goals\n\nThe reason.\n\n## Old\n\n## Notes\n\nA note.\n"
    )
    for _ in range(2):
        write(tmp_path, page("A run.", FOUND, read(tmp_path)), FOUND)
    text = read(tmp_path)
    parts = ["## Goals", "a goal", "## Missed goals", "The reason.", "## Workloads", "a table", "## Notes", "A note."]
    assert [text.count(part) for part in parts] == [1] * len(parts)
    assert sorted(parts, key=text.index) == parts
    assert "## Old" not in text
    assert text.endswith("A note.\n")


def test_the_picture_has_a_bar_for_each_contender_and_workload() -> None:
    root = ET.fromstring(svg(BARS))  # noqa: S314  ours
    bars = [each.get("class") for each in root.iter() if (each.get("class") or "").startswith("bar ")]
    assert bars == ["bar ingress", "bar repeat", "bar ingress"]
    assert "sidecar <ours>" in [each.text for each in root.iter()]
