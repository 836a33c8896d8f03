"""Counts events, and writes them in the exposition format of Prometheus.

Events are counted in plain integers: that costs a microsecond, while a labelled child of prometheus-client costs several, and
its multi-process mode cannot take histograms that other processes made. The library writes the exposition on request, from
*snapshots*: plain dictionaries, which a worker can send to its parent, and which can be added up.

Labels are bounded: decisions, reasons and grant types are closed lists, a status is from 100 to 599 or `other`, and a client is
a configured one that has authenticated with its secret.
"""

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeGuard, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar import __version__
from sidecar.core.events import (
    Decision,
    Event,
    LoginFailed,
    LogoutFailed,
    PersonEvent,
    RequestDone,
    SecretUsed,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.oauth.grants import GRANT_TYPES
from sidecar.core.reasons import Plane, Reason

Snapshot = dict[str, Any]
Replaced = Literal["cannot_start", "died", "hung"]
"""Why a worker was replaced."""

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATUSES: Final = frozenset(range(100, 600))
_KEYED: Final = ("requests", "failures", "issued", "logins", "logouts")
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
_SUCCESS: Final = "success"
_RESULTS: Final = {
    "logins": (_SUCCESS, "bad_credentials", "stale_form", "store_unavailable", "throttled"),
    "logouts": (_SUCCESS, "invalid_request", "stale_form", "store_unavailable"),
}
"""The results of logins and logouts whose counters exist from the start."""
_HISTOGRAMS: Final = ("request_duration", "upstream_duration")


class Gauges(NamedTuple):
    """Current values of other parts. `staleness` and `clock_skew` are in seconds. The counts of the cache, of dropped log lines
    and of unreadable entries only grow."""

    in_flight: int
    connections: int
    tunnels: int
    cache_hits: int
    cache_misses: int
    store_up: bool
    staleness: float
    revocations: int
    log_lines_dropped: int = 0
    store_writable: bool = True
    clock_skew: float = 0.0
    unreadable: int = 0


class _Histogram:
    """The count of each bucket (not cumulative; the last one is beyond every bound) and the sum, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds


class Metrics:
    """Counts the events of one worker."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges
        self._requests: Counter[tuple[str, int]] = Counter()
        self._failures: Counter[Reason] = Counter()
        self._issued: Counter[str] = Counter()
        self._revoked = 0
        self._logins: Counter[str] = Counter()
        self._logouts: Counter[str] = Counter()
        self._secrets: dict[tuple[int, str], float] = {}
        self._request_duration = _Histogram()
        self._upstream_duration = _Histogram()

    def __repr__(self) -> str:
        return f"<Metrics of {self._requests.total()} requests>"

    def on_event(self, event: Event) -> None:
        """Count an event."""
        if type(event) is RequestDone:
            self.count(event.decision, event.status, event.seconds, event.upstream_seconds)
            if event.reason is not None:
                self._failures[event.reason] += 1
        elif type(event) is TokenIssued:
            self._issued[event.grant_type] += 1
        elif type(event) is TokenRevoked:
            self._revoked += 1
        elif type(event) is SecretUsed:
            self._secrets[event.secret, event.client_id] = event.at
        elif isinstance(event, UserLoggedIn | LoginFailed):
            self._logins[_result(event)] += 1
        elif isinstance(event, UserLoggedOut | LogoutFailed):
            self._logouts[_result(event)] += 1

    def count(self, decision: Decision, status: int, seconds: float, upstream_seconds: float | None) -> None:
        """Count a finished request, as `on_event` does for `RequestDone` without a reason."""
        self._requests[decision, status] += 1
        self._request_duration.observe(seconds)
        if upstream_seconds is not None:
            self._upstream_duration.observe(upstream_seconds)

    def snapshot(self) -> Snapshot:
        """All counts and gauges, as values of JSON."""
        requests: Counter[str] = Counter()
        for (decision, status), count in self._requests.items():
            requests[f"{decision} {status if status in _STATUSES else 'other'}"] += count
        return {
            "requests": dict(requests),
            "failures": {_key(reason): count for reason, count in self._failures.items()},
            "issued": dict(self._issued),
            "revoked": self._revoked,
            "logins": dict(self._logins),
            "logouts": dict(self._logouts),
            "secrets": {f"{number} {client_id}": at for (number, client_id), at in self._secrets.items()},
            "request_duration": [*self._request_duration.counts, self._request_duration.total],
            "upstream_duration": [*self._upstream_duration.counts, self._upstream_duration.total],
            "gauges": self._gauges()._asdict(),
        }


def is_snapshot(value: object) -> TypeGuard[Snapshot]:
    """Whether a value from JSON has the shape of `Metrics.snapshot`, as far as `render` and `Accumulator` depend on it."""
    if not isinstance(value, dict):
        return False
    keyed = all(_numbers(value.get(name), int) for name in _KEYED) and _numbers(value.get("secrets"), int, float)
    durations = all(_durations(value.get(name)) for name in _HISTOGRAMS)
    gauges = value.get("gauges")
    measured = _numbers(gauges, int, float) and set(Gauges._fields) <= gauges.keys()
    return keyed and durations and measured and isinstance(value.get("revoked"), int)


def _numbers(value: object, *types: type) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(each, types) for each in value.values())


def _durations(value: object) -> bool:
    """Whether a value is a list of the count of each bucket, and the sum."""
    return isinstance(value, list) and len(value) == len(_BOUNDS) + 2 and all(isinstance(x, int | float) for x in value)


class Accumulator:
    """The counts of workers that have ended, kept so that counters never decrease."""

    def __init__(self) -> None:
        self._sum: Snapshot | None = None

    def add(self, snapshot: Snapshot | None) -> None:
        """Keep the counters of an ended worker's last snapshot, if there is one. Its gauges are dropped."""
        if snapshot is not None:
            past = without_gauges(snapshot)
            self._sum = past if self._sum is None else _merge(self._sum, past)

    def snapshots(self) -> list[Snapshot]:
        """The snapshot of all ended workers together; empty when there is none."""
        return [] if self._sum is None else [self._sum]


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """The counters of a snapshot: what a worker that does not answer any more has counted remains true."""
    counted = {**snapshot, **_counted(snapshot["gauges"])}
    del counted["gauges"]
    return counted


def _counted(gauges: Mapping[str, Any]) -> Snapshot:
    """The counters among the gauges, which other parts count."""
    return {
        "cache": [gauges["cache_hits"], gauges["cache_misses"]],
        "log_lines_dropped": gauges["log_lines_dropped"],
    }


def render(
    snapshots: Iterable[Snapshot], *, log_lines_dropped: int = 0, replaced: Mapping[Replaced, int] | None = None
) -> bytes:
    """The exposition of several workers together (text format 0.0.4). `log_lines_dropped` is the count of their parent, and
    `replaced` its count of workers that it replaced, by cause."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(list(snapshots), log_lines_dropped, replaced or {}))
    return generate_latest(registry)


class _Exposition(Collector):
    def __init__(self, snapshots: list[Snapshot], log_lines_dropped: int, replaced: Mapping[Replaced, int]) -> None:
        self._log_lines_dropped = log_lines_dropped
        self._replaced = replaced
        self._gauges = [snapshot["gauges"] for snapshot in snapshots if "gauges" in snapshot]
        self._sum: Snapshot = {}
        for snapshot in snapshots:
            counted = {name: value for name, value in snapshot.items() if name != "gauges"}
            if "gauges" in snapshot:
                counted |= _counted(snapshot["gauges"])
            self._sum = _merge(self._sum, counted) if self._sum else counted

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


def _key(reason: Reason) -> str:
    return f"{reason.plane} {reason.word}"


def _failures(name: str, text: str, planes: Sequence[Plane], counted: Mapping[str, int]) -> Metric:
    """The counter for all reasons of these planes, including those with a count of 0. The plane is a label when there are
    several."""
    labels = ["plane", "reason"][len(planes) == 1 :]
    family = CounterMetricFamily(name, text, labels=labels)
    for reason in Reason:
        if reason.plane in planes:
            family.add_metric([reason.plane, reason.word][-len(labels) :], counted.get(_key(reason), 0))
    return family


def _result(event: PersonEvent) -> str:
    return event.reason.word if isinstance(event, LoginFailed | LogoutFailed) else _SUCCESS


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
    for bound, count in zip([*map(str, _BOUNDS), "+Inf"], counts, strict=True):
        cumulated += count
        buckets.append((bound, float(cumulated)))
    return buckets


def _merge(left: Snapshot, right: Snapshot) -> Snapshot:
    """The sums of the counters of two snapshots, and the later of their times."""
    merged: Snapshot = {name: _add(left[name], right[name]) for name in _KEYED}
    for name in (*_HISTOGRAMS, "cache"):
        merged[name] = [a + b for a, b in zip(left[name], right[name], strict=True)]
    for name in ("revoked", "log_lines_dropped"):
        merged[name] = left[name] + right[name]
    secrets = [*left["secrets"].items(), *right["secrets"].items()]
    merged["secrets"] = dict(sorted(secrets, key=lambda item: item[1]))  # the latest time of a key wins
    return merged


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in {*left, *right}}
