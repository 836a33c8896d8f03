"""Counts events.

Events are counted in plain integers: that costs a microsecond, while a labelled child of prometheus-client costs several, and
its multi-process mode cannot take histograms that other processes made. The library writes the exposition on request
(`exposition`), from *snapshots*: plain dictionaries, which a worker can send to its parent, and which can be added up.

Labels are bounded: decisions, reasons and grant types are closed lists, a status is from 100 to 599 or `other`, and a client is
a configured one that has authenticated with its secret.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeGuard

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
from sidecar.core.reasons import Reason

Snapshot = dict[str, Any]
Replaced = Literal["cannot_start", "died", "hung"]
"""Why a worker was replaced."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATUSES: Final = frozenset(range(100, 600))
_KEYED: Final = ("requests", "failures", "issued", "logins", "logouts")
SUCCESS: Final = "success"
_HISTOGRAMS: Final = ("request_duration", "upstream_duration")


class Gauges(NamedTuple):
    """Current values of other parts. `staleness` and `clock_skew` are in seconds, memory in bytes. The counts of the cache, of
    dropped log lines and of unreadable entries only grow."""

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
    memory_held: int = 0
    memory_limit: int = 0


class _Histogram:
    """The count of each bucket (not cumulative; the last one is beyond every bound) and the sum, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
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
            "failures": {key_of(reason): count for reason, count in self._failures.items()},
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
    return isinstance(value, list) and len(value) == len(BOUNDS) + 2 and all(isinstance(x, int | float) for x in value)


class Accumulator:
    """The counts of workers that have ended, kept so that counters never decrease."""

    def __init__(self) -> None:
        self._sum: Snapshot | None = None

    def add(self, snapshot: Snapshot | None) -> None:
        """Keep the counters of an ended worker's last snapshot, if there is one. Its gauges are dropped."""
        if snapshot is not None:
            past = without_gauges(snapshot)
            self._sum = past if self._sum is None else merge(self._sum, past)

    def snapshots(self) -> list[Snapshot]:
        """The snapshot of all ended workers together; empty when there is none."""
        return [] if self._sum is None else [self._sum]


def without_gauges(snapshot: Snapshot) -> Snapshot:
    """The counters of a snapshot: what a worker that does not answer any more has counted remains true."""
    counted = {**snapshot, **counters_of(snapshot["gauges"])}
    del counted["gauges"]
    return counted


def counters_of(gauges: Mapping[str, Any]) -> Snapshot:
    """The counters among the gauges, which other parts count."""
    return {
        "cache": [gauges["cache_hits"], gauges["cache_misses"]],
        "log_lines_dropped": gauges["log_lines_dropped"],
    }


def key_of(reason: Reason) -> str:
    return f"{reason.plane} {reason.word}"


def _result(event: PersonEvent) -> str:
    return event.reason.word if isinstance(event, LoginFailed | LogoutFailed) else SUCCESS


def merge(left: Snapshot, right: Snapshot) -> Snapshot:
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
