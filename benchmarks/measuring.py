"""One workload on all its contenders, in rounds."""

import functools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.certificate import Certificate
from benchmarks.contenders import SIDECAR
from benchmarks.machine import Invalid
from benchmarks.report import Series, median, ratio
from benchmarks.rounds import Results, column, go_round
from benchmarks.running import Cost, Running
from benchmarks.workloads import Ask, Workload

WARM_UP = 2  # seconds


@dataclass(frozen=True)
class Memory:
    """In MiB, before and after the rounds; `store`: the contender has a Redis besides."""

    at_rest: float
    after: float
    store: bool


@dataclass(frozen=True)
class Measured:
    """A workload's costs and the memory, by the contenders' names."""

    workload: Workload
    results: Results[Cost]
    memory: dict[str, Memory]

    def micros(self, name: str) -> Series:
        """µs of CPU per request of each round; Redis apart."""
        return column(self.results.get(name, []), lambda cost: cost.micros)

    def beside(self, name: str) -> float:
        """Ours ÷ a contender; NaN where one of them was not measured."""
        both = SIDECAR.name in self.results and name in self.results
        return ratio(self.micros(SIDECAR.name), self.micros(name)) if both else math.nan

    def cheapest_first(self) -> list[str]:
        """Those that have a valid round."""
        names = [name for name in self.results if not math.isnan(median(self.micros(name)))]
        return sorted(names, key=lambda name: median(self.micros(name)))


class Idle:
    """What Redis is asked in our rounds, and in as many seconds with nothing to do: that is asked anyway."""

    def __init__(self) -> None:
        self._requests = self._loaded = self._idle = 0

    def after(self, ours: Running, cost: Cost, seconds: int) -> Cost:
        """Count a round, and wait for as long."""
        store = ours.started.store
        assert store is not None  # noqa: S101  ours has one
        before = store.commands()
        time.sleep(seconds)
        self._idle += store.commands() - before
        self._loaded += round(cost.redis_commands * cost.requests)
        self._requests += cost.requests
        return cost

    @property
    def per_request(self) -> float:
        """Commands that a request adds. A heartbeat more or less can make it a little more or less than nothing."""
        return (self._loaded - self._idle) / self._requests if self._requests else math.nan

    def __str__(self) -> str:
        if not self._requests:
            return ""
        return (
            f"Redis commands in our rounds of the first workload: {self._loaded:,} under load and {self._idle:,} in as many"
            f" idle seconds, for {self._requests:,} admitted requests: {self.per_request:+.6f} per request."
        )


def measure(bench: Bench, workload: Workload, upstream: int, idle: Idle | None, faults: list[str]) -> Measured:
    """Start those that are wanted and installed, and go round. `idle`: count in it what Redis is asked.

    Raises `Invalid` when nobody is left, or one does not do its job.
    """
    options = bench.options
    folder = bench.folder / workload.name
    folder.mkdir()

    def cost(item: Running, seconds: int) -> Cost:
        return item.cost(lambda: workload.put(Ask(item, seconds, options.connections, folder)))

    def counted(item: Running) -> Cost:
        found = cost(item, options.seconds)
        return idle.after(item, found, options.seconds) if idle and item.contender is SIDECAR else found

    with _all_running(bench, workload, upstream, folder) as running:
        for item in running.values():
            cost(item, WARM_UP)
        void: list[str] = []
        rows = {name: functools.partial(counted, item) for name, item in running.items()}
        results = go_round(rows, options.rounds, void)
        faults += [f"{workload.name}: {fault}" for fault in void]
        memory = {
            name: Memory(item.at_rest, item.started.resident_mib(), item.started.store is not None)
            for name, item in running.items()
        }
    return Measured(workload, results, memory)


@contextmanager
def _all_running(bench: Bench, workload: Workload, upstream: int, folder: Path) -> Iterator[dict[str, Running]]:
    """By name. They end with the workload, so that none disturbs the next one."""
    present = [each for each in workload.contenders if bench.options.wants(each.name) and not each.missing()]
    if not present:
        raise Invalid("no contender is left")
    certificate = Certificate.make(folder) if workload.tls else None
    running: dict[str, Running] = {}
    try:
        for turn, each in enumerate(present):
            item = Running(each, bench.place(f"{workload.name}/{turn}", upstream=upstream, certificate=certificate))
            running[each.name] = item
            if workload.check:
                workload.check(item)
        yield running
    finally:
        for item in running.values():
            item.started.stop()
