"""The page: RESULTS.md, all of one run, with the plot. Its part `## Notes` is written by hand and stays."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.plot import svg
from benchmarks.report import Findings, table
from benchmarks.sections import SECTIONS

PAGE, PLOT = "RESULTS.md", "cpu.svg"
_GOALS = ("section", "goal", "target", "figure", "")


def page(run_by: str, found: Mapping[str, Findings]) -> list[str]:
    """The lines of it, as Markdown; `found` by the sections' names."""
    sections = [section for section in SECTIONS if section.name in found]
    goals = [goal.row(section.name) for section in sections for goal in found[section.name].goals]
    lines = ["# Results", "", run_by, ""]
    lines += ["## Goals", "", *table(_GOALS, goals), ""] if goals else []
    if any(each.bars for each in found.values()):
        lines += [f"![CPU per admitted request of each contender, as in the first table]({PLOT})", ""]
    for section in sections:
        lines += [f"## {section.title}", "", *found[section.name].lines, ""]
    faults = [f"- {section.name}: {fault}" for section in sections for fault in found[section.name].faults]
    return [*lines, "## Not sound", "", *faults, ""] if faults else lines


def write(folder: Path, lines: Sequence[str], found: Mapping[str, Findings]) -> None:
    """Write page and plot into a folder; the notes of the page that is there stay."""
    path = folder / PAGE
    before = path.read_text() if path.exists() else ""
    notes = re.search(r"^## Notes\n.*", before, re.MULTILINE | re.DOTALL)
    path.write_text("\n".join(lines) + (f"\n{notes[0]}" if notes else ""))
    for bars in (each.bars for each in found.values() if each.bars):
        (folder / PLOT).write_text(svg(bars))
