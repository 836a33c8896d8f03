"""Writes snapshots in the exposition format of Prometheus (text format 0.0.4)."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar import __version__
from sidecar.ops.catalogue import COUNTERS, GAUGES, HISTOGRAMS, SEPARATOR, TIMES, HistogramFamily
from sidecar.ops.snapshots import Snapshot, collected, merge

_OF_PROCESSES: Final = "sidecar_process_"


def render(snapshots: Iterable[Snapshot]) -> bytes:
    """The exposition of several processes together (text format 0.0.4). A metric that no snapshot names is left out."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(list(snapshots)))
    return generate_latest(registry)


class _Exposition(Collector):
    def __init__(self, snapshots: list[Snapshot]) -> None:
        self._gauges = collected(snapshots)
        self._sum = reduce(merge, snapshots) if snapshots else None

    def collect(self) -> Iterator[Metric]:
        if self._sum is not None:
            yield from _counters(self._sum)
            yield from _histograms(self._sum)
            yield from _times(self._sum)
        yield from self._values()
        yield from self._process()
        build = GaugeMetricFamily("sidecar_build_info", "The running version.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build

    def _values(self) -> Iterator[Metric]:
        for family in GAUGES:
            found = self._gauges.get(family.name)
            if found is not None:
                metric = GaugeMetricFamily(family.name, family.text, labels=family.labels)
                for series, values in sorted(found.items()):
                    metric.add_metric(_labels(series, family.labels), family.combine(values))
                yield metric

    def _process(self) -> Iterator[Metric]:
        """The standard metrics of a process, of all processes of the sidecar together."""
        cpu = (self._sum["counters"] if self._sum else {}).get(f"{_OF_PROCESSES}cpu_seconds_total")
        if cpu:
            text = "CPU time of all processes of the sidecar, in seconds."
            yield CounterMetricFamily("process_cpu_seconds_total", text, sum(cpu.values()))
        found = {
            name.removeprefix("sidecar_"): {process: sum(values) for process, values in series.items()}
            for name, series in self._gauges.items()
            if name.startswith(_OF_PROCESSES)
        }
        for name, text in (
            (
                "process_resident_memory_bytes",
                "Resident memory of all processes of the sidecar; shared pages count twice.",
            ),
            ("process_virtual_memory_bytes", "Virtual memory of all processes of the sidecar."),
        ):
            if found.get(name):
                yield GaugeMetricFamily(name, text, sum(found[name].values()))
        begun = self._gauges.get(f"{_OF_PROCESSES}start_time_seconds")
        if begun:
            text = "When the first process of the sidecar began, in epoch seconds."
            yield GaugeMetricFamily("process_start_time_seconds", text, min(min(values) for values in begun.values()))
        yield from _descriptors(found.get("process_open_fds", {}), found.get("process_max_fds", {}))


def _counters(total: Snapshot) -> Iterator[Metric]:
    for family in COUNTERS:
        found = total["counters"].get(family.name)
        if found is not None:
            metric = CounterMetricFamily(family.name, family.text, labels=family.labels)
            for series in (*family.present, *sorted(found.keys() - set(family.present))):
                metric.add_metric(_labels(series, family.labels), found.get(series, 0))
            yield metric


def _histograms(total: Snapshot) -> Iterator[Metric]:
    for family in HISTOGRAMS:
        found = total["histograms"].get(family.name)
        if found is not None:
            metric = HistogramMetricFamily(family.name, family.text, labels=family.labels)
            nothing = [0.0] * (len(family.bounds) + 2)
            for series in (*family.present, *sorted(found.keys() - set(family.present))):
                *counts, seconds = found.get(series, nothing)
                metric.add_metric(_labels(series, family.labels), _buckets(family, counts), seconds)
            yield metric


def _times(total: Snapshot) -> Iterator[Metric]:
    for family in TIMES:
        metric = GaugeMetricFamily(family.name, family.text, labels=family.labels)
        for series, at in sorted(total["times"].get(family.name, {}).items()):
            metric.add_metric(_labels(series, family.labels), at)
        yield metric


def _descriptors(opened: Mapping[str, float], most: Mapping[str, float]) -> Iterator[Metric]:
    """Those of the process that is nearest to its limit: a sum would hide it among the others."""
    both = [(opened[process], most[process]) for process in opened.keys() & most.keys()]
    if both:
        used, limit = max(both, key=lambda pair: (pair[0] / pair[1] if pair[1] else 0, pair[0]))
        text = "of the process of the sidecar that is nearest to its limit."
        yield GaugeMetricFamily("process_open_fds", f"Open file descriptors {text}", used)
        yield GaugeMetricFamily("process_max_fds", f"Most file descriptors {text}", limit)


def _labels(series: str, labels: tuple[str, ...]) -> list[str]:
    return series.split(SEPARATOR, len(labels) - 1) if labels else []


def _buckets(family: HistogramFamily, counts: list[float]) -> list[tuple[str, float]]:
    buckets, cumulated = [], 0.0
    for bound, count in zip([*map(str, family.bounds), "+Inf"], counts, strict=True):
        cumulated += count
        buckets.append((bound, cumulated))
    return buckets
