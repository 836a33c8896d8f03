"""What happened, said once: one immutable event feeds the metrics, the log and whoever listens later.

An event carries no token, secret, query or header value: what is not in it cannot leak.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple

from sidecar.core.causes import Fault
from sidecar.core.reasons import Reason


class Decision(StrEnum):
    """What was decided about a request on the public listener."""

    ADMITTED = "admitted"
    PUBLIC = "public"
    REFUSED = "refused"
    LOCAL = "local"  # answered by one of our own endpoints


class RequestDone(NamedTuple):
    """A request on the public listener was answered, or its connection was lost before it was.

    `status` is what the client was sent (499: the client left first, as nginx logs it). `path` has no query.
    Durations are in seconds; `upstream_seconds` is `None` when the upstream was not asked. `fault` says what went wrong between
    us and the upstream.
    """

    decision: Decision
    status: int
    seconds: float
    upstream_seconds: float | None
    reason: Reason | None
    method: str
    path: str
    client_id: str | None
    peer: str
    fault: Fault | None = None


class TokenIssued(NamedTuple):
    """The token endpoint issued an access token."""

    grant_type: str
    client_id: str
    jti: str


class TokenRevoked(NamedTuple):
    """A revocation was written to the store."""

    client_id: str
    jti: str


class SecretUsed(NamedTuple):
    """A client was let in by one of its secrets, the `secret`-th of the configuration, at `at` (epoch seconds)."""

    client_id: str
    secret: int
    at: float


class StoreChanged(NamedTuple):
    """The store became reachable or unreachable; `detail` names the fault (never an address with a password)."""

    up: bool
    detail: str


class StoreNoted(NamedTuple):
    """Something about the store that an operator should know: the name of the log's event, and `detail` as in
    `StoreChanged`."""

    name: Literal[
        "store_down",
        "clock_differs",
        "revocations_lost",
        "store_not_writable",
        "store_writable",
        "store_entries_unreadable",
    ]
    detail: str


Event = RequestDone | TokenIssued | TokenRevoked | SecretUsed | StoreChanged | StoreNoted
Listener = Callable[[Event], None]
"""Called synchronously, in order; must be quick and must not raise."""
