"""The page: RESULTS.md, all of one run, with the plot.

Two parts are written by hand and stay when the page is written anew: `## Missed goals`, below the table of goals, and
`## Notes`, at the end.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.plot import svg
from benchmarks.report import Findings, table
from benchmarks.sections import SECTIONS

PAGE, PLOT = "RESULTS.md", "cpu.svg"
_GOALS = ("section", "goal", "target", "figure", "")


def page(run_by: str, found: Mapping[str, Findings], before: str = "") -> list[str]:
    """The lines of it, as Markdown; `found` by the sections' names, `before` the page whose hand-written parts stay."""
    missed, notes = by_hand(before, "Missed goals"), by_hand(before, "Notes")
    sections = [section for section in SECTIONS if section.name in found]
    goals = [goal.row(section.name) for section in sections for goal in found[section.name].goals]
    lines = ["# Results", "", run_by, ""]
    lines += ["## Goals", "", *table(_GOALS, goals), ""] if goals else []
    lines += missed
    if any(each.bars for each in found.values()):
        lines += [
            f"![CPU per admitted request of each contender, when every head is another and when one is repeated]({PLOT})",
            "",
        ]
    for section in sections:
        lines += [f"## {section.title}", "", *found[section.name].lines, ""]
    faults = [f"- {section.name}: {fault}" for section in sections for fault in found[section.name].faults]
    lines += ["## Not sound", "", *faults, ""] if faults else []
    return [*lines, *notes]


def by_hand(before: str, title: str) -> list[str]:
    """The lines of a part, with its title, up to the next part of the same level; none where it is not there."""
    found = re.search(rf"^## {title}\n.*?(?=^## |\Z)", before, re.MULTILINE | re.DOTALL)
    return [*found[0].rstrip("\n").split("\n"), ""] if found else []


def read(folder: Path) -> str:
    """The page that is there, or nothing."""
    path = folder / PAGE
    return path.read_text() if path.exists() else ""


def write(folder: Path, lines: Sequence[str], found: Mapping[str, Findings]) -> None:
    """Write page and plot into a folder."""
    (folder / PAGE).write_text("\n".join(lines))
    for bars in (each.bars for each in found.values() if each.bars):
        (folder / PLOT).write_text(svg(bars))
