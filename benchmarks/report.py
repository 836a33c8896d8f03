"""What a section found, and how figures of several rounds become one: medians, and the goals beside them."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

Series = Sequence[float | None]  # a figure per round, `None` where the round was void


@dataclass(frozen=True)
class Goal:
    """A figure that is aimed at; NaN was not measured."""

    text: str
    figure: float
    target: float
    unit: str = ""
    digits: int = 2

    @property
    def missed(self) -> bool:
        """To as many digits as are shown."""
        return round(self.figure, self.digits) > self.target if not math.isnan(self.figure) else False

    @property
    def verdict(self) -> str:
        """For the table of goals."""
        if math.isnan(self.figure):
            return "not measured"
        return "missed" if self.missed else "met"

    def row(self, section: str) -> list[str]:
        """A row of the table of goals."""
        figure = "–" if math.isnan(self.figure) else f"{self.figure:.{self.digits}f}{self.unit}"
        return [section, self.text, f"≤ {self.target:g}{self.unit}", figure, self.verdict]


@dataclass(frozen=True)
class Length:
    """That of one bar, for a workload: the median with its range, and what Redis adds to it."""

    workload: str
    median: float
    low: float
    high: float
    besides: float


@dataclass(frozen=True)
class Bar:
    """A contender in the plot, with a bar per workload."""

    name: str
    lengths: tuple[Length, ...]
    ours: bool


@dataclass
class Findings:
    """A section's result: Markdown, goals, bars for the plot; `faults` make the run unsound."""

    lines: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)


def median(series: Series) -> float:
    """Of the valid rounds; NaN when there is none."""
    valid = [each for each in series if each is not None]
    return statistics.median(valid) if valid else math.nan


def paired(ours: Series, theirs: Series, combine: Callable[[float, float], float]) -> float:
    """The median over the rounds that are valid for both; NaN when there is none."""
    found = [combine(mine, other) for mine, other in zip(ours, theirs, strict=True) if mine is not None and other]
    return median(found)


def ratio(ours: Series, theirs: Series) -> float:
    """Ours ÷ theirs, within each round."""
    return paired(ours, theirs, lambda mine, other: mine / other)


def added(ours: Series, theirs: Series) -> float:
    """Ours − theirs, within each round."""
    return paired(ours, theirs, lambda mine, other: mine - other)


def spread(series: Series, digits: int = 1) -> str:
    """`median (min–max)`."""
    valid = [each for each in series if each is not None]
    if not valid:
        return "–"
    return f"{median(valid):,.{digits}f} ({min(valid):,.{digits}f}–{max(valid):,.{digits}f})"


def number(value: float, digits: int = 2, sign: str = "") -> str:
    """A figure, or a dash for NaN; `sign="+"` shows that it is a difference."""
    return "–" if math.isnan(value) else f"{value:{sign},.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
