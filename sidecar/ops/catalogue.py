"""Every metric of the sidecar: its name, meaning, labels, and how several workers become one.

A series is named by its *key*: the values of its labels, joined by `SEPARATOR`; empty without labels. Labels are bounded:
decisions, reasons, causes, endpoints and operations are closed lists, a status is from 100 to 599 or `other`, addresses, keys
and clients are configured ones, and a process is the parent or the number of a worker, never a process id.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args

from sidecar.core.causes import Cause
from sidecar.core.events import Decision, StoreOperation, StreamKind
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.grants import GRANT_TYPES
from sidecar.core.reasons import Plane, Reason

SEPARATOR: Final = "\x1f"
SUCCESS: Final = "success"

Replaced = Literal["cannot_start", "died", "hung"]
"""Why a worker was replaced."""
ReloadResult = Literal["applied", "rejected", "unchanged"]
"""What a reload of the configuration did."""

BOUNDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
LONG_BOUNDS: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


def key(*values: str) -> str:
    """The key of the series with these values of its labels."""
    return SEPARATOR.join(values)


class CounterFamily(NamedTuple):
    """A counter; workers, also those that have ended, are added up. `present`: the keys of series that exist from the start."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    present: tuple[str, ...] = ()


class HistogramFamily(NamedTuple):
    """A histogram of seconds, otherwise as a counter."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    bounds: tuple[float, ...] = BOUNDS


class GaugeFamily(NamedTuple):
    """A present value; `combine` makes one value of those of the workers that answer."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    combine: Callable[[Iterable[float]], float] = sum


class TimeFamily(NamedTuple):
    """When something happened last, in epoch seconds: the latest time of all workers, also of those that have ended."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


def _furthest(values: Iterable[float]) -> float:
    return max(values, key=abs)


def _words(*planes: Plane) -> tuple[str, ...]:
    return tuple(reason.word for reason in Reason if reason.plane in planes)


ENDPOINTS: Final = tuple(map(endpoint_paths.label_of, endpoint_paths.ALL))
_DOCUMENTS: Final = ("jwks", "metadata")
_OPERATIONS: Final = get_args(StoreOperation)
_RESULTS: Final = (SUCCESS, "stale_form", "store_unavailable")

# One counter for each responsible party, so that an alert reaches those who can act on it.
FAILURES: Final = {
    Plane.PROTECTED: "sidecar_auth_failures_total",
    Plane.TOKEN: "sidecar_auth_failures_total",
    Plane.REQUEST: "sidecar_bad_requests_total",
    Plane.UPSTREAM: "sidecar_upstream_failures_total",
    Plane.SIDECAR: "sidecar_own_failures_total",
}

COUNTERS: Final = (
    CounterFamily(
        "sidecar_requests_total", "Requests on the public listener, by decision and status.", ("decision", "code")
    ),
    CounterFamily(
        "sidecar_auth_failures_total",
        "Refused requests, by plane and reason: the caller's credential or rights are at fault.",
        ("plane", "reason"),
        tuple(key(plane, word) for plane in (Plane.PROTECTED, Plane.TOKEN) for word in _words(plane)),
    ),
    CounterFamily(
        "sidecar_bad_requests_total",
        "Requests that were malformed, too large or too slow: the caller's software or network is at fault.",
        ("reason",),
        _words(Plane.REQUEST),
    ),
    CounterFamily(
        "sidecar_upstream_failures_total",
        "Requests that the API did not answer properly.",
        ("reason",),
        _words(Plane.UPSTREAM),
    ),
    CounterFamily(
        "sidecar_own_failures_total",
        "Requests that the sidecar failed: it had too many, did not reach its store, or has a defect.",
        ("reason",),
        _words(Plane.SIDECAR),
    ),
    CounterFamily(
        "sidecar_failure_causes_total",
        "Failed requests whose cause is known, by reason and cause.",
        ("reason", "cause"),
        tuple(key(cause.reason.word, cause.word) for cause in Cause),
    ),
    CounterFamily(
        "sidecar_oauth_requests_total", "Requests to the sidecar's own endpoints, by status.", ("endpoint", "code")
    ),
    CounterFamily(
        "sidecar_oauth_failures_total",
        "Requests to the sidecar's own endpoints that were refused or failed, by reason.",
        ("endpoint", "reason"),
        tuple(
            key(endpoint, word)
            for endpoint in ENDPOINTS
            for word in _words(*(() if endpoint in _DOCUMENTS else (Plane.TOKEN,)), Plane.SIDECAR)
        ),
    ),
    CounterFamily("sidecar_tokens_issued_total", "Access tokens issued.", ("grant_type",), tuple(sorted(GRANT_TYPES))),
    CounterFamily("sidecar_tokens_revoked_total", "Access tokens revoked here.", (), ("",)),
    CounterFamily(
        "sidecar_logins_total",
        "Forms of the login page, by what came of them.",
        ("result",),
        (*_RESULTS, "bad_credentials", "throttled"),
    ),
    CounterFamily(
        "sidecar_logouts_total",
        "Users who wanted to log out, by what came of it.",
        ("result",),
        (*_RESULTS, "invalid_request"),
    ),
    CounterFamily("sidecar_token_cache_hits_total", "Tokens that were verified before.", (), ("",)),
    CounterFamily("sidecar_token_cache_misses_total", "Tokens whose signature was checked.", (), ("",)),
    CounterFamily(
        "sidecar_store_errors_total", "Operations that the store did not answer.", ("operation",), _OPERATIONS
    ),
    CounterFamily(
        "sidecar_store_changes_total",
        "How often a worker reached the store (up), and lost it (down).",
        ("state",),
        ("up", "down"),
    ),
    CounterFamily(
        "sidecar_slow_hashes_refused_total",
        "Passwords and secrets that were not checked, because too many waited.",
        ("queue",),
    ),
    CounterFamily("sidecar_log_lines_dropped_total", "Log lines that nobody took in time.", (), ("",)),
    CounterFamily("sidecar_process_cpu_seconds_total", "CPU time of each process of the sidecar.", ("process",)),
    CounterFamily(
        "sidecar_workers_replaced_total",
        "Workers that ended and were replaced.",
        ("cause",),
        get_args(Replaced),
    ),
    CounterFamily(
        "sidecar_config_reloads_total",
        "How often the configuration was read again, by result.",
        ("result",),
        get_args(ReloadResult),
    ),
)

HISTOGRAMS: Final = (
    HistogramFamily(
        "sidecar_request_duration_seconds",
        "Seconds from the head of a request to the end of its response, without streams and tunnels.",
        ("decision",),
        tuple(Decision),
    ),
    HistogramFamily(
        "sidecar_upstream_duration_seconds",
        "Seconds from sending a request to the upstream to the end of its response, without streams and tunnels.",
        (),
        ("",),
    ),
    HistogramFamily(
        "sidecar_upstream_first_byte_seconds",
        "Seconds from sending a request to the upstream to the first byte of its response.",
        (),
        ("",),
    ),
    HistogramFamily(
        "sidecar_stream_duration_seconds",
        "Seconds from the head of a request to the end of its stream or tunnel.",
        ("kind",),
        get_args(StreamKind),
        LONG_BOUNDS,
    ),
    HistogramFamily(
        "sidecar_oauth_request_duration_seconds",
        "Seconds from the head of a request to one of the sidecar's own endpoints to the end of its response.",
        ("endpoint",),
        ENDPOINTS,
    ),
    HistogramFamily(
        "sidecar_store_duration_seconds",
        "Seconds until the store answered, by kind of operation.",
        ("operation",),
        _OPERATIONS,
    ),
    HistogramFamily(
        "sidecar_event_loop_lag_seconds",
        "By how much a worker's event loop was late for a timer that is due ten times a second.",
        (),
        ("",),
    ),
)

GAUGES: Final = (
    GaugeFamily("sidecar_in_flight_requests", "Requests being answered."),
    GaugeFamily("sidecar_in_flight_requests_limit", "Requests that may be answered at a time."),
    GaugeFamily("sidecar_waiting_requests", "Requests whose body the sidecar needs before it decides about them."),
    GaugeFamily("sidecar_connections", "Open client connections."),
    GaugeFamily("sidecar_connections_limit", "Client connections that may be open."),
    GaugeFamily("sidecar_tunnels", "Upgraded connections, such as WebSocket."),
    GaugeFamily("sidecar_tunnels_limit", "Upgraded connections that may be open."),
    GaugeFamily("sidecar_streams", "Event streams, and bodies that have been flowing for more than 10 seconds."),
    GaugeFamily("sidecar_memory_held_bytes", "Memory that is held for clients."),
    GaugeFamily("sidecar_memory_limit_bytes", "Memory that may be held for clients."),
    GaugeFamily(
        "sidecar_upstream_connections",
        "Connections to the API: busy, idle, opening (a request waits for it) and closing.",
        ("state",),
    ),
    GaugeFamily("sidecar_upstream_connections_limit", "Connections to the API that may be busy, idle or opening."),
    GaugeFamily(
        "sidecar_upstream_up",
        "0 while the API server at this address failed last, as a worker sees it.",
        ("address",),
        min,
    ),
    GaugeFamily(
        "sidecar_upstream_fault",
        "1 while the API server at this address failed last, with the cause.",
        ("cause", "address"),
        max,
    ),
    GaugeFamily("sidecar_store_up", "1 when every worker's store answers.", (), min),
    GaugeFamily("sidecar_store_writable", "1 when every worker's store takes writes.", (), min),
    GaugeFamily(
        "sidecar_store_clock_skew_seconds",
        "By how much the store's clock is ahead of a worker's, where they differ most.",
        (),
        _furthest,
    ),
    GaugeFamily(
        "sidecar_store_unreadable_entries",
        "Entries of the store that a worker could not read; what they name is refused.",
        (),
        max,
    ),
    GaugeFamily(
        "sidecar_revocation_feed_staleness_seconds", "Age of the oldest worker's view of revocations.", (), max
    ),
    GaugeFamily("sidecar_revocations", "Revocations that a worker remembers.", (), max),
    GaugeFamily("sidecar_slow_hashes", "Passwords and secrets that are checked or wait for it.", ("queue",)),
    GaugeFamily("sidecar_slow_hashes_limit", "Passwords and secrets that may wait.", ("queue",)),
    GaugeFamily(
        "sidecar_certificate_expiry_timestamp_seconds",
        "When a certificate in use expires; of a chain, the first to expire; of several CAs, the last.",
        ("of",),
        min,
    ),
    GaugeFamily("sidecar_signing_key_signs", "1 for the key that signs.", ("alg", "kid"), max),
    GaugeFamily(
        "sidecar_signing_key_not_before_timestamp_seconds", "When a key begins to sign, if that is set.", ("kid",), max
    ),
    GaugeFamily(
        "sidecar_signing_key_not_after_timestamp_seconds", "When a key ends to sign, if that is set.", ("kid",), min
    ),
    GaugeFamily("sidecar_signing_keys_lapsed", "1 when every key is out of its window.", (), max),
    GaugeFamily(
        "sidecar_process_resident_memory_bytes", "Resident memory of each process of the sidecar.", ("process",)
    ),
    GaugeFamily("sidecar_process_virtual_memory_bytes", "Virtual memory of each process of the sidecar.", ("process",)),
    GaugeFamily("sidecar_process_open_fds", "Open file descriptors of each process of the sidecar.", ("process",)),
    GaugeFamily("sidecar_process_max_fds", "File descriptors that each process may open.", ("process",)),
    GaugeFamily("sidecar_process_start_time_seconds", "When each process of the sidecar began.", ("process",), max),
    GaugeFamily("sidecar_workers", "Workers that answered."),
    GaugeFamily("sidecar_workers_configured", "Workers that there should be.", (), max),
    GaugeFamily("sidecar_draining", "1 while the sidecar is going away.", (), max),
    GaugeFamily(
        "sidecar_config_last_reload_successful", "1 when the last reload of the configuration succeeded.", (), min
    ),
    GaugeFamily(
        "sidecar_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read.",
        (),
        max,
    ),
    GaugeFamily("sidecar_config_hash", "48 bits that differ between configurations with different values.", (), max),
)

TIMES: Final = (
    TimeFamily(
        "sidecar_client_secret_last_used_timestamp_seconds",
        "When a client was last let in by its first or its second secret.",
        ("secret", "client_id"),
    ),
)
