"""Snapshots: what a process has counted and measured, as values of JSON that can be sent to another process and added up.

`counters` and `times` have a number for each series, `histograms` the count of each bucket (not cumulative; the last one is
beyond every bound) and the sum, `gauges` a number. Each is by name of the metric, and then by key (`ops.catalogue`). A process
names only the metrics that it knows about.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypedDict, TypeGuard, TypeVar

from sidecar.ops.catalogue import HISTOGRAMS

Numbers = dict[str, dict[str, float]]
Histograms = dict[str, dict[str, list[float]]]
_V = TypeVar("_V")

_LENGTHS: Final = {family.name: len(family.bounds) + 2 for family in HISTOGRAMS}


class Snapshot(TypedDict):
    """The parts of a snapshot; see the head of this module."""

    counters: Numbers
    histograms: Histograms
    times: Numbers
    gauges: Numbers


class Readings(NamedTuple):
    """What a part counts and measures itself: numbers by metric and key."""

    counters: Numbers
    gauges: Numbers


def snapshot(
    *,
    counters: Numbers | None = None,
    histograms: Histograms | None = None,
    times: Numbers | None = None,
    gauges: Numbers | None = None,
) -> Snapshot:
    """A snapshot of these parts; those that are left out are empty."""
    return {
        "counters": counters or {},
        "histograms": histograms or {},
        "times": times or {},
        "gauges": gauges or {},
    }


def is_snapshot(value: object) -> TypeGuard[Snapshot]:
    """Whether a value from JSON has the shape of a snapshot."""
    if not isinstance(value, dict) or value.keys() != Snapshot.__annotations__.keys():
        return False
    numbers = (value["counters"], value["times"], value["gauges"])
    return all(_by_series(part, _is_number) for part in numbers) and _are_histograms(value["histograms"])


def _by_series(part: object, good: Callable[[object], bool]) -> bool:
    if not isinstance(part, dict):
        return False
    return all(isinstance(series, dict) and all(map(good, series.values())) for series in part.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _are_histograms(part: object) -> bool:
    """Whether each histogram has the buckets that the catalogue says."""

    def fits(value: object, length: int | None) -> bool:
        return isinstance(value, list) and len(value) == length and all(map(_is_number, value))

    return _by_series(part, lambda _: True) and all(
        fits(value, _LENGTHS.get(name))
        for name, series in part.items()  # type: ignore[attr-defined]  # checked just before
        for value in series.values()
    )


class Accumulator:
    """The counts of workers that have ended, kept so that counters never decrease."""

    def __init__(self) -> None:
        self._sum: Snapshot | None = None

    def add(self, ended: Snapshot | None) -> None:
        """Keep the counters of an ended worker's last snapshot, if there is one. Its gauges are dropped."""
        if ended is not None:
            past = without_gauges(ended)
            self._sum = past if self._sum is None else merge(self._sum, past)

    def snapshots(self) -> list[Snapshot]:
        """The snapshot of all ended workers together; empty when there is none."""
        return [] if self._sum is None else [self._sum]


def without_gauges(given: Snapshot) -> Snapshot:
    """The counters of a snapshot: what a worker that does not answer any more has counted remains true."""
    return {**given, "gauges": {}}


def merge(left: Snapshot, right: Snapshot) -> Snapshot:
    """The sums of the counters of two snapshots, and the later of their times. Gauges are dropped: see `collected`."""
    return {
        "counters": _merge(left["counters"], right["counters"], lambda a, b: a + b),
        "histograms": _merge(left["histograms"], right["histograms"], _add),
        "times": _merge(left["times"], right["times"], max),
        "gauges": {},
    }


def collected(snapshots: list[Snapshot]) -> dict[str, dict[str, list[float]]]:
    """The gauges of all snapshots: by metric and series, the value of each process that has one."""
    found: dict[str, dict[str, list[float]]] = {}
    for each in snapshots:
        for name, series in each["gauges"].items():
            values = found.setdefault(name, {})
            for key, value in series.items():
                values.setdefault(key, []).append(value)
    return found


def _merge(
    left: Mapping[str, Mapping[str, _V]], right: Mapping[str, Mapping[str, _V]], both: Callable[[_V, _V], _V]
) -> dict[str, dict[str, _V]]:
    merged = {name: dict(series) for name, series in left.items()}
    for name, series in right.items():
        into = merged.setdefault(name, {})
        for key, value in series.items():
            into[key] = both(into[key], value) if key in into else value
    return merged


def _add(left: list[Any], right: list[Any]) -> list[Any]:
    return [a + b for a, b in zip(left, right, strict=True)]
