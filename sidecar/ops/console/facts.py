"""What the console shows, as plain values. A worker sends a `WorkerFacts` to its parent as JSON.

Times are epoch seconds, durations seconds, and sizes bytes. No value holds a token, a secret or a query.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sidecar.core.reasons import Reason
from sidecar.ops.catalogue import FAILURES, SEPARATOR, key
from sidecar.ops.snapshots import Numbers

_STRICT: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Tally:
    """What a worker has counted since its start: requests by `decision status`, failures by `plane reason`."""

    requests: dict[str, int]
    failures: dict[str, int]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Refusal:
    """A request that was refused or failed, as in the log. `path` has no query and no token."""

    at: float
    status: int
    plane: str
    reason: str
    method: str
    path: str
    peer: str
    client_id: str | None = None
    user: str | None = None
    cause: str | None = None
    detail: str | None = None
    upstream: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class UpstreamFacts:
    """One address of the API, as a worker sees it. `skipped` is for how long the worker still passes it over."""

    url: str
    exchanges: int
    idle: int
    failures: int
    skipped: float
    fault: str = ""
    fault_at: float | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class StoreFacts:
    """The store and the view of revocations, as a worker sees them. `known`: the view may be relied on at present.
    `fault` is why the store cannot be reached, `fault_of_writes` why it takes no writes; both may be empty."""

    up: bool
    known: bool
    staleness: float
    revocations: int
    skew: float
    unreadable: int
    fault: str = ""
    fault_of_writes: str = ""
    changed_at: float | None = None


@dataclass(frozen=True, slots=True, config=_STRICT)
class WorkerFacts:
    """One worker. `used` has the last use of each client that has got a token."""

    pid: int
    since: float
    tally: Tally
    store: StoreFacts
    upstreams: list[UpstreamFacts]
    refusals: list[Refusal]
    used: dict[str, float]
    in_flight: int
    connections: int
    tunnels: int
    memory_held: int
    memory_limit: int


_WORKER: Final = TypeAdapter(WorkerFacts)
_TALLY: Final = TypeAdapter(Tally)


def packed(facts: "WorkerFacts | Tally") -> Any:
    """The facts as values of JSON."""
    adapter: TypeAdapter[Any] = _TALLY if isinstance(facts, Tally) else _WORKER
    return adapter.dump_python(facts, mode="json")


def tally_of(counters: Numbers) -> Tally:
    """The part of the counters that the console needs."""
    failures = {}
    for reason in Reason:
        # The counters of callers have the plane in their keys, the others in their names.
        for series in (key(reason.plane, reason.word), reason.word):
            if count := counters[FAILURES[reason.plane]].get(series):
                failures[f"{reason.plane} {reason.word}"] = int(count)
    requests = counters["sidecar_requests_total"]
    return Tally({series.replace(SEPARATOR, " "): int(count) for series, count in requests.items()}, failures)


def read_worker(body: object) -> WorkerFacts:
    """The opposite of `packed`. Raises `ValueError` when the shape is wrong."""
    return _WORKER.validate_python(body)


def read_tally(body: object) -> Tally:
    """Likewise, for a tally."""
    return _TALLY.validate_python(body)


def is_worker(body: object) -> bool:
    """Whether `read_worker` can read it."""
    return _fits(_WORKER, body)


def is_tally(body: object) -> bool:
    """Whether `read_tally` can read it."""
    return _fits(_TALLY, body)


def _fits(adapter: TypeAdapter[Any], body: object) -> bool:
    try:
        adapter.validate_python(body)
    except ValidationError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the configuration, with everything secret hidden."""

    path: str
    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class ConfigurationFacts:
    """The configuration in force. `read_at` is when it was read; `tried_at` when the file was last read, with its result:
    `faults`, or what was `applied` and what waits for a restart."""

    file: str
    digest: str
    read_at: float
    tried_at: float | None
    faults: list[str]
    applied: list[str]
    at_restart: list[str]
    sections: dict[str, list[Setting]]


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A signing key. `role` is that of `sidecar keys list`."""

    kid: str
    alg: str
    role: str
    not_before: float | None
    not_after: float | None


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A file with certificates: until when it can be used, or why it cannot be read."""

    name: str
    file: str
    not_after: float | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """A configured client."""

    client_id: str
    name: str
    grants: str
    authentication: str
    disabled: bool
    used: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. `ready` is what `/readyz` says, with its `checks`. `wanted` is how many workers there should be, `replaced`
    how many ended, by cause, and `cannot_start` why the last one could not start."""

    now: float
    version: str
    python: str
    host: str
    pid: int
    since: float
    public: str
    admin: str
    draining: bool
    ready: bool
    checks: dict[str, str]
    wanted: int
    replaced: dict[str, int]
    cannot_start: str
    store: str
    max_staleness: float
    configuration: ConfigurationFacts
    keys: list[KeyFacts]
    keys_lapsed: bool
    certificates: list[CertificateFacts]
    clients: list[ClientFacts]
    workers: list[WorkerFacts]

    @property
    def refusals(self) -> list[Refusal]:
        """Those of all workers, the newest first."""
        found = [each for worker in self.workers for each in worker.refusals]
        return sorted(found, key=lambda each: each.at, reverse=True)


def together(workers: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """The later of two times of each name."""
    return {name: max(workers.get(name, 0.0), more.get(name, 0.0)) for name in {*workers, *more}}
