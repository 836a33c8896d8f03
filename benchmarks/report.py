"""The tables: what was measured and what was aimed at, as Markdown."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Round:
    """One contender under load once: µs of CPU per request, and requests per second."""

    micros: float
    rate: float


@dataclass
class Result:
    """One contender's rounds, `None` where one was void; resident memory before and after all load in MiB."""

    rounds: list[Round | None] = field(default_factory=list)
    at_rest: float = 0.0
    after: float = 0.0

    @property
    def micros(self) -> list[float]:
        """µs of CPU per request of the valid rounds."""
        return [each.micros for each in self.rounds if each]


@dataclass
class Commands:
    """What Redis was asked during our rounds, and during as many seconds with nothing to do; admitted requests."""

    loaded: int = 0
    idle: int = 0
    requests: int = 0

    @property
    def per_request(self) -> float:
        """Commands that a request adds. A heartbeat more or less can make it a little more or less than nothing."""
        return (self.loaded - self.idle) / self.requests if self.requests else math.nan

    def __str__(self) -> str:
        return (
            f"Redis commands in our rounds: {self.loaded:,} under load and {self.idle:,} in as many idle seconds, "
            f"for {self.requests:,} admitted requests: {self.per_request:+.6f} per request."
        )


@dataclass(frozen=True)
class Target:
    """A goal; a `value` of NaN was not measured. `counts`: missing it shows in the exit code."""

    text: str
    value: float
    limit: float
    unit: str = ""
    digits: int = 2
    counts: bool = True

    @property
    def missed(self) -> bool:
        """To as many digits as are shown."""
        return round(self.value, self.digits) > self.limit if not math.isnan(self.value) else False

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"| {self.text} | ≤ {self.limit:g}{self.unit} | – | not measured |"
        verdict = "NOT met" if self.missed else "met"
        return f"| {self.text} | ≤ {self.limit:g}{self.unit} | {self.value:.{self.digits}f}{self.unit} | {verdict} |"


def ratio(ours: Result | None, theirs: Result | None) -> float:
    """The median over the rounds that are valid for both of ours to theirs; NaN when there is none."""
    if ours is None or theirs is None:
        return math.nan
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    found = [mine.micros / other.micros for mine, other in pairs if mine and other]
    return statistics.median(found) if found else math.nan


def table(results: Mapping[str, Result], ours: str) -> list[str]:
    """Rows of Markdown, the cheapest first; who has no valid round is not among them."""
    rows = [
        "| what | µs CPU per request (min–max) | ours ÷ this (median of rounds) | requests/s | MiB at rest | MiB after |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    measured = [(name, result) for name, result in results.items() if result.micros]
    for name, result in sorted(measured, key=lambda item: statistics.median(item[1].micros)):
        shown = f"**{name}**" if name == ours else name
        against = ratio(results.get(ours), result)
        rate = statistics.median(each.rate for each in result.rounds if each)
        rows.append(
            f"| {shown} | {statistics.median(result.micros):.1f} ({min(result.micros):.1f}–{max(result.micros):.1f})"
            f" | {'–' if math.isnan(against) else f'{against:.2f}'} | {rate:,.0f}"
            f" | {result.at_rest:.0f} | {result.after:.0f} |"
        )
    return rows


def targets(rows: Sequence[Target]) -> list[str]:
    """The goals, as Markdown."""
    return ["| goal | limit | measured | |", "| --- | --- | --- | --- |", *map(str, rows)]
