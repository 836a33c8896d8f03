"""Events: one immutable value for each thing that happened, for the metrics, the log and any other handler.

An event contains no token, secret, query or header value, so that none can leak.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple

from sidecar.core.causes import Fault
from sidecar.core.reasons import Reason


class Decision(StrEnum):
    """The decision about a request on the public listener."""

    # That of an enumeration is a Python function: too slow for a key of each request's counter.
    __hash__ = str.__hash__

    ADMITTED = "admitted"
    PUBLIC = "public"
    REFUSED = "refused"
    LOCAL = "local"  # answered by an endpoint of the sidecar


StreamKind = Literal["stream", "tunnel"]
"""`tunnel`: after an upgrade. `stream`: an event stream, or a body that flowed for a long time."""


class RequestDone(NamedTuple):
    """A request on the public listener was answered, or its connection was lost before that.

    `status` is the status that the client got (499: the client closed first, as in nginx's log). `path` has no query.
    Durations are in seconds; `upstream_seconds` is `None` when no request went to the upstream. `fault` says what went wrong
    between the sidecar and the upstream. `user` is the user of the token or of the browser session. `told`: another event says
    what happened, and who did it. `endpoint` names the endpoint of the sidecar that was asked, if any. `first_byte_seconds`:
    from sending the request to the upstream to the first byte of its response. `stream`: bytes flowed for so long that the
    durations say nothing about speed. `request_id` is the id that the caller gave the request.
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
    endpoint: str | None = None
    first_byte_seconds: float | None = None
    stream: StreamKind | None = None
    request_id: str | None = None


class TokenIssued(NamedTuple):
    """An access token was issued; `user` is `None` if the client acts for itself."""

    grant_type: str
    client_id: str
    jti: str
    user: str | None = None


class TokenRevoked(NamedTuple):
    """A revocation was written to the store."""

    client_id: str
    jti: str


class UserLoggedIn(NamedTuple):
    """A user logged in during an authorization request of a client. `peer` is the address of the browser."""

    user: str
    client_id: str
    peer: str


class LoginFailed(NamedTuple):
    """The form of the login page was sent, but did not log the user in. `user` is set only to a configured name: any other
    text may be a password in the wrong field."""

    reason: Reason
    user: str | None
    client_id: str | None
    peer: str


class UserLoggedOut(NamedTuple):
    """A user ended a session."""

    user: str
    peer: str


class LogoutFailed(NamedTuple):
    """A logout failed, and the session continues. `user` is set if it is known."""

    reason: Reason
    user: str | None
    peer: str


class SecretUsed(NamedTuple):
    """A client authenticated with its secret number `secret` of the configuration, at `at` (epoch seconds)."""

    client_id: str
    secret: int
    at: float


StoreOperation = Literal["heartbeat", "read", "write", "refresh", "revoke", "throttle"]
"""A kind of operation of the store: `heartbeat` of the revocation feed; `read` and `write` of a value (a code, a login, an
assertion); `refresh`: of a family of refresh tokens, whatever is done with it; `revoke`; `throttle`: attempts are counted."""


class StoreUsed(NamedTuple):
    """An operation of the store took so many seconds. `answered`: it did not fail."""

    operation: StoreOperation
    seconds: float
    answered: bool


class StoreChanged(NamedTuple):
    """The store became reachable or unreachable. `detail` names the fault, never an address with a password."""

    up: bool
    detail: str


class StoreNoted(NamedTuple):
    """A condition of the store that an operator should know: the name of the event in the log, and `detail` as in
    `StoreChanged`."""

    name: Literal[
        "store_down",
        "clock_differs",
        "revocations_lost",
        "store_not_writable",
        "store_writable",
        "store_entries_unreadable",
        "store_may_forget",
    ]
    detail: str


PersonEvent = UserLoggedIn | LoginFailed | UserLoggedOut | LogoutFailed
Event = RequestDone | TokenIssued | TokenRevoked | PersonEvent | SecretUsed | StoreUsed | StoreChanged | StoreNoted
EventHandler = Callable[[Event], None]
"""Called synchronously and in order. It must be fast and must not raise."""
