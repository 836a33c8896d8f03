"""Writes snapshots in the exposition format of Prometheus (text format 0.0.4)."""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar import __version__
from sidecar.core.oauth.grants import GRANT_TYPES
from sidecar.core.reasons import Plane, Reason
from sidecar.ops.metrics import BOUNDS, SUCCESS, Replaced, Snapshot, counters_of, key_of, merge

# One counter for each responsible party, so that an alert reaches those who can act on it.
_FAILURES: Final = {
    "sidecar_auth_failures_total": (
        "Refused requests, by plane and reason: the caller's credential or rights are at fault.",
        (Plane.PROTECTED, Plane.TOKEN),
    ),
    "sidecar_bad_requests_total": (
        "Requests that were malformed, too large or too slow: the caller's software or network is at fault.",
        (Plane.REQUEST,),
    ),
    "sidecar_upstream_failures_total": ("Requests that the API did not answer properly.", (Plane.UPSTREAM,)),
    "sidecar_own_failures_total": (
        "Requests that the sidecar failed: it had too many, did not reach its store, or has a defect.",
        (Plane.SIDECAR,),
    ),
}
_RESULTS: Final = {
    "logins": (SUCCESS, "bad_credentials", "stale_form", "store_unavailable", "throttled"),
    "logouts": (SUCCESS, "invalid_request", "stale_form", "store_unavailable"),
}
"""The results of logins and logouts whose counters exist from the start."""


class Configuration(NamedTuple):
    """The configuration of a process: whether the last reload succeeded, when the settings in force were read (epoch
    seconds), and their digest."""

    successful: bool
    at: float
    digest: int


def render(
    snapshots: Iterable[Snapshot],
    configuration: Configuration,
    *,
    log_lines_dropped: int = 0,
    replaced: Mapping[Replaced, int] | None = None,
) -> bytes:
    """The exposition of several workers together (text format 0.0.4). `log_lines_dropped` is the count of their parent, and
    `replaced` its count of workers that it replaced, by cause."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(list(snapshots), configuration, log_lines_dropped, replaced or {}))
    return generate_latest(registry)


class _Exposition(Collector):
    def __init__(
        self,
        snapshots: list[Snapshot],
        configuration: Configuration,
        log_lines_dropped: int,
        replaced: Mapping[Replaced, int],
    ) -> None:
        self._configuration = configuration
        self._log_lines_dropped = log_lines_dropped
        self._replaced = replaced
        self._gauges = [snapshot["gauges"] for snapshot in snapshots if "gauges" in snapshot]
        self._sum: Snapshot = {}
        for snapshot in snapshots:
            counted = {name: value for name, value in snapshot.items() if name != "gauges"}
            if "gauges" in snapshot:
                counted |= counters_of(snapshot["gauges"])
            self._sum = merge(self._sum, counted) if self._sum else counted

    def collect(self) -> Iterator[Metric]:
        if self._sum:
            yield from self._counters()
            yield from self._durations()
        if self._gauges:
            yield from self._state()
        yield GaugeMetricFamily("sidecar_workers", "Workers that answered.", len(self._gauges))
        replaced = CounterMetricFamily(
            "sidecar_workers_replaced_total", "Workers that ended and were replaced.", labels=["cause"]
        )
        for cause in get_args(Replaced):
            replaced.add_metric([cause], self._replaced.get(cause, 0))
        yield replaced
        yield from _of_configuration(self._configuration)
        build = GaugeMetricFamily("sidecar_build_info", "The running version.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build

    def _counters(self) -> Iterator[Metric]:
        total = self._sum
        requests = CounterMetricFamily(
            "sidecar_requests_total",
            "Requests on the public listener, by decision and status.",
            labels=["decision", "code"],
        )
        for key, count in sorted(total["requests"].items()):
            requests.add_metric(key.split(" "), count)
        yield requests
        for name, (text, planes) in _FAILURES.items():
            yield _failures(name, text, planes, total["failures"])
        issued = CounterMetricFamily("sidecar_tokens_issued_total", "Access tokens issued.", labels=["grant_type"])
        for grant_type in sorted(GRANT_TYPES | total["issued"].keys()):
            issued.add_metric([grant_type], total["issued"].get(grant_type, 0))
        yield issued
        yield CounterMetricFamily("sidecar_tokens_revoked_total", "Access tokens revoked here.", total["revoked"])
        yield _results("sidecar_logins_total", "Forms of the login page, by what came of them.", "logins", total)
        yield _results("sidecar_logouts_total", "Users who wanted to log out, by what came of it.", "logouts", total)
        yield _secrets(total["secrets"])
        hits, misses = total["cache"]
        yield CounterMetricFamily("sidecar_token_cache_hits_total", "Tokens that were verified before.", hits)
        yield CounterMetricFamily("sidecar_token_cache_misses_total", "Tokens whose signature was checked.", misses)
        dropped = total["log_lines_dropped"] + self._log_lines_dropped
        yield CounterMetricFamily("sidecar_log_lines_dropped_total", "Log lines that nobody took in time.", dropped)

    def _durations(self) -> Iterator[Metric]:
        for name, text in (
            ("request", "Seconds from the head of a request to the end of its response."),
            ("upstream", "Seconds from sending a request to the upstream to the end of its response."),
        ):
            *counts, seconds = self._sum[f"{name}_duration"]
            family = HistogramMetricFamily(f"sidecar_{name}_duration_seconds", text)
            family.add_metric([], _buckets(counts), seconds)
            yield family

    def _state(self) -> Iterator[Metric]:
        gauges = self._gauges
        for name, text, value in (
            ("in_flight_requests", "Requests being answered.", sum(g["in_flight"] for g in gauges)),
            ("connections", "Open client connections.", sum(g["connections"] for g in gauges)),
            ("tunnels", "Upgraded connections, such as WebSocket.", sum(g["tunnels"] for g in gauges)),
            ("memory_held_bytes", "Memory that is held for clients.", sum(g["memory_held"] for g in gauges)),
            ("memory_limit_bytes", "Memory that may be held for clients.", sum(g["memory_limit"] for g in gauges)),
            ("store_up", "1 when every worker's store answers.", min(int(g["store_up"]) for g in gauges)),
            (
                "revocation_feed_staleness_seconds",
                "Age of the oldest worker's view of revocations.",
                max(g["staleness"] for g in gauges),
            ),
            ("revocations", "Revocations that a worker remembers.", max(g["revocations"] for g in gauges)),
            (
                "store_writable",
                "1 when every worker's store takes writes.",
                min(int(g["store_writable"]) for g in gauges),
            ),
            (
                "store_clock_skew_seconds",
                "By how much the store's clock is ahead of a worker's, where they differ most.",
                max((g["clock_skew"] for g in gauges), key=abs),
            ),
            (
                "store_unreadable_entries",
                "Entries of the store that a worker could not read; what they name is refused.",
                max(g["unreadable"] for g in gauges),
            ),
        ):
            yield GaugeMetricFamily(f"sidecar_{name}", text, value)


def _of_configuration(configuration: Configuration) -> Iterator[Metric]:
    for name, text, value in (
        ("last_reload_successful", "1 when the last reload of the configuration succeeded.", configuration.successful),
        (
            "last_reload_success_timestamp_seconds",
            "When the configuration in force was read.",
            configuration.at,
        ),
        ("hash", "48 bits that differ between configurations with different values.", configuration.digest),
    ):
        yield GaugeMetricFamily(f"sidecar_config_{name}", text, value)


def _failures(name: str, text: str, planes: Sequence[Plane], counted: Mapping[str, int]) -> Metric:
    """The counter for all reasons of these planes, including those with a count of 0. The plane is a label when there are
    several."""
    labels = ["plane", "reason"][len(planes) == 1 :]
    family = CounterMetricFamily(name, text, labels=labels)
    for reason in Reason:
        if reason.plane in planes:
            family.add_metric([reason.plane, reason.word][-len(labels) :], counted.get(key_of(reason), 0))
    return family


def _results(name: str, text: str, kind: str, total: Snapshot) -> Metric:
    family = CounterMetricFamily(name, text, labels=["result"])
    for result in sorted({*_RESULTS[kind], *total[kind]}):
        family.add_metric([result], total[kind].get(result, 0))
    return family


def _secrets(used: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(
        "sidecar_client_secret_last_used_timestamp_seconds",
        "When a client was last let in by its first or its second secret.",
        labels=["client_id", "secret"],
    )
    for key, at in sorted(used.items()):
        number, _, client_id = key.partition(" ")
        family.add_metric([client_id, number], at)
    return family


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    buckets, cumulated = [], 0
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        cumulated += count
        buckets.append((bound, float(cumulated)))
    return buckets
