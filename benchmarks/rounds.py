"""The rounds: every row is measured in turn, each time beginning with another."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

from benchmarks.machine import Invalid
from benchmarks.report import Series

_T = TypeVar("_T")
Results = dict[str, list[_T | None]]


def go_round(rows: Mapping[str, Callable[[], _T]], rounds: int, faults: list[str]) -> Results[_T]:
    """Each row's result of every round, `None` where it was void: then `faults` has the reason."""
    results: Results[_T] = {name: [] for name in rows}
    names = list(rows)
    for turn in range(rounds):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            try:
                results[name].append(rows[name]())
            except Invalid as exc:
                results[name].append(None)
                faults.append(f"round {turn + 1}: {name}: void, {exc}")
            print(f"round {turn + 1}: {name}: {results[name][-1] or 'void'}", file=sys.stderr)
    return results


def column(found: list[_T | None], figure: Callable[[_T], float]) -> Series:
    """One figure of each round."""
    return [None if each is None else figure(each) for each in found]
