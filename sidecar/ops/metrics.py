"""Counts events.

Events are counted in plain integers: that costs a microsecond, while a labelled child of prometheus-client costs several, and
its multi-process mode cannot take histograms that other processes made. The library writes the exposition on request
(`ops.exposition`), from snapshots (`ops.snapshots`).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from sidecar.core.events import (
    Decision,
    Event,
    LoginFailed,
    LogoutFailed,
    PersonEvent,
    RequestDone,
    SecretUsed,
    StoreChanged,
    StoreUsed,
    StreamKind,
    TokenIssued,
    TokenRevoked,
    UserLoggedIn,
    UserLoggedOut,
)
from sidecar.core.reasons import Plane, Reason
from sidecar.ops.catalogue import BOUNDS, FAILURES, LONG_BOUNDS, SUCCESS, key
from sidecar.ops.snapshots import Numbers, Readings, Snapshot, snapshot

_STATUSES: Final = frozenset(range(100, 600))
_S = TypeVar("_S", bound=str)


class Histogram:
    """The count of each bucket (not cumulative; the last one is beyond every bound) and the sum, in seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def values(self) -> list[float]:
        """The counts and the sum, for a snapshot."""
        return [*self.counts, self.total]


class _Requests(Histogram):
    """The durations of the requests with one decision, and their statuses."""

    __slots__ = ("statuses",)

    def __init__(self) -> None:
        super().__init__()
        self.statuses: Counter[int] = Counter()


class Metrics:
    """Counts the events of one worker. `readings` are those of its other parts."""

    def __init__(self, readings: Callable[[], Readings]) -> None:
        self._readings = readings
        self._counts: Counter[tuple[str, str]] = Counter()  # by metric and key
        self._reasons: Counter[Reason] = Counter()
        self._secrets: dict[tuple[int, str], float] = {}
        self._requests = {decision: _Requests() for decision in Decision}
        # A whole answer has arrived with its first byte: it is observed once, and belongs to both metrics of the upstream.
        self._whole = Histogram()
        self._upstream = Histogram()
        self._first_byte = Histogram()
        self._streams: dict[str, Histogram] = {}
        self._endpoints: dict[str, Histogram] = {}
        self._store: dict[str, Histogram] = {}
        self._lag = Histogram()

    def __repr__(self) -> str:
        return f"<Metrics of {sum(each.statuses.total() for each in self._requests.values())} requests>"

    def on_event(self, event: Event) -> None:
        """Count an event."""
        if type(event) is RequestDone:
            self._request(event)
        elif type(event) is TokenIssued:
            self._counts["sidecar_tokens_issued_total", event.grant_type] += 1
        elif type(event) is StoreUsed:
            self._operation(event)
        elif type(event) is TokenRevoked:
            self._counts["sidecar_tokens_revoked_total", ""] += 1
        elif type(event) is SecretUsed:
            self._secrets[event.secret, event.client_id] = event.at
        elif type(event) is StoreChanged:
            self._counts["sidecar_store_changes_total", "up" if event.up else "down"] += 1
        elif isinstance(event, UserLoggedIn | LoginFailed):
            self._counts["sidecar_logins_total", _result(event)] += 1
        elif isinstance(event, UserLoggedOut | LogoutFailed):
            self._counts["sidecar_logouts_total", _result(event)] += 1

    def count_whole(self, decision: Decision, status: int, seconds: float, upstream_seconds: float) -> None:
        """Count a request that the API answered in one piece, as `on_event` does for its `RequestDone`."""
        requests = self._requests[decision]
        requests.statuses[status] += 1
        requests.counts[bisect_left(BOUNDS, seconds)] += 1
        requests.total += seconds
        whole = self._whole
        whole.counts[bisect_left(BOUNDS, upstream_seconds)] += 1
        whole.total += upstream_seconds

    def count_streamed(
        self,
        decision: Decision,
        status: int,
        seconds: float,
        upstream_seconds: float,
        first_byte_seconds: float,
        stream: StreamKind | None,
    ) -> None:
        """Likewise for one whose answer was forwarded as it came."""
        requests = self._requests[decision]
        requests.statuses[status] += 1
        self._first_byte.observe(first_byte_seconds)
        if stream is not None:
            _observe(self._streams, stream, seconds, LONG_BOUNDS)
            return
        requests.observe(seconds)
        self._upstream.observe(upstream_seconds)

    def observe_lag(self, seconds: float) -> None:
        """Count by how much the event loop was late."""
        self._lag.observe(seconds)

    def _request(self, event: RequestDone) -> None:
        self._requests[event.decision].statuses[event.status] += 1
        if event.reason is not None:
            self._reasons[event.reason] += 1
            if event.fault is not None:
                cause = event.fault.cause
                self._counts["sidecar_failure_causes_total", key(cause.reason.word, cause.word)] += 1
        if event.first_byte_seconds is not None:
            self._first_byte.observe(event.first_byte_seconds)
        if event.stream is None:
            self._requests[event.decision].observe(event.seconds)
            if event.upstream_seconds is not None:
                self._upstream.observe(event.upstream_seconds)
        else:
            _observe(self._streams, event.stream, event.seconds, LONG_BOUNDS)
        if event.endpoint is not None:
            self._at_endpoint(event.endpoint, event)

    def _at_endpoint(self, endpoint: str, event: RequestDone) -> None:
        self._counts["sidecar_oauth_requests_total", key(endpoint, _status(event.status))] += 1
        _observe(self._endpoints, endpoint, event.seconds)
        if event.reason is not None:
            self._counts["sidecar_oauth_failures_total", key(endpoint, event.reason.word)] += 1

    def _operation(self, event: StoreUsed) -> None:
        if event.answered:
            _observe(self._store, event.operation, event.seconds)
        else:
            self._counts["sidecar_store_errors_total", event.operation] += 1

    def snapshot(self) -> Snapshot:
        """Everything that was counted and measured."""
        counters, gauges = self._readings()
        return snapshot(
            counters={**self.counters(), **counters},
            histograms={
                "sidecar_request_duration_seconds": _values(self._requests),
                "sidecar_upstream_duration_seconds": {"": _sum(self._whole, self._upstream)},
                "sidecar_upstream_first_byte_seconds": {"": _sum(self._whole, self._first_byte)},
                "sidecar_stream_duration_seconds": _values(self._streams),
                "sidecar_oauth_request_duration_seconds": _values(self._endpoints),
                "sidecar_store_duration_seconds": _values(self._store),
                "sidecar_event_loop_lag_seconds": {"": self._lag.values()},
            },
            times={
                "sidecar_client_secret_last_used_timestamp_seconds": {
                    key(str(number), client_id): at for (number, client_id), at in self._secrets.items()
                }
            },
            gauges={**gauges, "sidecar_workers": {"": 1}},
        )

    def counters(self) -> Numbers:
        """The counters of the events, without those of other parts."""
        found: Numbers = {name: {} for name in _OWN}
        requests = found["sidecar_requests_total"]
        for decision, counted in self._requests.items():
            for status, count in counted.statuses.items():
                series = key(decision, _status(status))
                requests[series] = requests.get(series, 0) + count
        for reason, count in self._reasons.items():
            own = (reason.plane, reason.word) if reason.plane in _OF_CALLERS else (reason.word,)
            found[FAILURES[reason.plane]][key(*own)] = count
        for (name, series), count in self._counts.items():
            found[name][series] = count
        return found


_OF_CALLERS: Final = (Plane.PROTECTED, Plane.TOKEN)
_OWN: Final = (
    "sidecar_requests_total",
    *dict.fromkeys(FAILURES.values()),
    "sidecar_failure_causes_total",
    "sidecar_oauth_requests_total",
    "sidecar_oauth_failures_total",
    "sidecar_tokens_issued_total",
    "sidecar_tokens_revoked_total",
    "sidecar_logins_total",
    "sidecar_logouts_total",
    "sidecar_store_errors_total",
    "sidecar_store_changes_total",
)
"""The counters of this module."""


def _observe(histograms: dict[str, Histogram], series: str, seconds: float, bounds: tuple[float, ...] = BOUNDS) -> None:
    histogram = histograms.get(series)
    if histogram is None:
        histogram = histograms[series] = Histogram(bounds)
    histogram.observe(seconds)


def _values(histograms: Mapping[_S, Histogram]) -> dict[str, list[float]]:
    return {str(series): histogram.values() for series, histogram in histograms.items()}


def _sum(left: Histogram, right: Histogram) -> list[float]:
    return [a + b for a, b in zip(left.values(), right.values(), strict=True)]


def _status(status: int) -> str:
    return str(status) if status in _STATUSES else "other"


def _result(event: PersonEvent) -> str:
    return event.reason.word if isinstance(event, LoginFailed | LogoutFailed) else SUCCESS
