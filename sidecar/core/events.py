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
    us and the upstream. `user` is whose token it was, or who was at the browser. `told`: an event of its own says what
    happened, and who did it.
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
    user: str | None = None
    told: bool = False


class TokenIssued(NamedTuple):
    """An access token was issued, for a `user` unless the client acts for itself."""

    grant_type: str
    client_id: str
    jti: str
    user: str | None = None


class TokenRevoked(NamedTuple):
    """A revocation was written to the store."""

    client_id: str
    jti: str


class UserLoggedIn(NamedTuple):
    """A user logged in, on the way to a client; `peer` is the address of the browser."""

    user: str
    client_id: str
    peer: str


class LoginFailed(NamedTuple):
    """The form of the login page came, and nobody is logged in by it. `user` is set for a name of the configuration alone: any
    other may be a password in the wrong field."""

    reason: Reason
    user: str | None
    client_id: str | None
    peer: str


class UserLoggedOut(NamedTuple):
    """A session was ended by its user."""

    user: str
    peer: str


class LogoutFailed(NamedTuple):
    """Somebody wanted to log out, and the session goes on; `user` if that could be found out."""

    reason: Reason
    user: str | None
    peer: str


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


PersonEvent = UserLoggedIn | LoginFailed | UserLoggedOut | LogoutFailed
Event = RequestDone | TokenIssued | TokenRevoked | PersonEvent | SecretUsed | StoreChanged | StoreNoted
EventHandler = Callable[[Event], None]
"""Called synchronously, in order; must be quick and must not raise."""
