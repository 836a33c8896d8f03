"""The table: what was measured, as Markdown."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop


@dataclass
class Result:
    """One contender's rounds: µs of CPU per request, and requests per second. Memory in MiB."""

    micros: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    at_rest: float = 0.0
    after: float = 0.0


@dataclass(frozen=True)
class Target:
    """A goal and whether it was met."""

    text: str
    value: float
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        verdict = "met" if self.value <= self.limit else "NOT met"
        return f"| {self.text} | ≤ {self.limit:g}{self.unit} | {self.value:.2f}{self.unit} | {verdict} |"


def ratios(ours: Result, theirs: Result) -> list[float]:
    """Ours to theirs, round by round."""
    return [mine / other for mine, other in zip(ours.micros, theirs.micros, strict=True)]


def table(results: Mapping[str, Result], ours: str) -> list[str]:
    """Rows of Markdown, the cheapest first."""
    rows = [
        "| what | µs CPU per request (min–max) | ours ÷ this (median of rounds) | requests/s | MiB at rest | MiB after |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in sorted(results.items(), key=lambda item: statistics.median(item[1].micros)):
        ratio = statistics.median(ratios(results[ours], result)) if ours in results else float("nan")
        shown = f"**{name}**" if name == ours else name
        rows.append(
            f"| {shown} | {statistics.median(result.micros):.1f} ({min(result.micros):.1f}–{max(result.micros):.1f})"
            f" | {ratio:.2f} | {statistics.median(result.rates):,.0f} | {result.at_rest:.0f} | {result.after:.0f} |"
        )
    return rows


def targets(rows: Sequence[Target]) -> list[str]:
    """The goals, as Markdown."""
    return ["| goal | limit | measured | |", "| --- | --- | --- | --- |", *map(str, rows)]


def machine() -> str:
    """What it ran on."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {len(models)} × {models[0] if models else platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, uvloop {uvloop.__version__}, "
        f"aiohttp {aiohttp.__version__}"
    )
