"""The sidecar's own responses, before they are serialised: a status, header fields and a body.

The endpoints of `oauth` return them and `proxy` writes them; neither imports the other.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from sidecar.core.reasons import Reason


class Reply(NamedTuple):
    """A response of the sidecar. `reason` is set for a refusal. `client_id` and `user` are who was recognised, for the log.
    `told`: a separate event says what happened."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason | None = None
    client_id: str | None = None
    user: str | None = None
    told: bool = False


class EndpointRequest(NamedTuple):
    """A complete request to an endpoint of the sidecar: the body is read, path and query are split, header names are as sent.

    `peer` is the client's address; behind trusted proxies, the address that they report.
    `query` is the raw query string without `?`; header names and values are decoded as latin-1 (RFC 9110 section 5.5).
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: str

    def header_values(self, name: str) -> list[str]:
        """Every value of the header `name` (given in lower case), in order."""
        return values_of(self.headers, name)


def values_of(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Every value of the header `name` (given in lower case) among `headers`, in order."""
    return [value for key, value in headers if key.lower() == name]


Endpoint = Callable[[EndpointRequest], Awaitable[Reply]]
"""An endpoint never raises because of what a client sent: it returns a `Reply`."""


class PromptEndpoint(Protocol):
    """An endpoint whose reply is often at hand, so that its caller need not wait for it in a task."""

    async def __call__(self, request: EndpointRequest) -> Reply: ...

    def begin(self, request: EndpointRequest) -> Reply | Awaitable[Reply]:
        """The reply, if nothing has to be waited for, else what gives it; that must be awaited."""


JSON = ("Content-Type", "application/json")
NO_STORE = ("Cache-Control", "no-store")


def json_reply(
    status: int, body: Mapping[str, object], *headers: tuple[str, str], client_id: str | None = None
) -> Reply:
    """A JSON response that caches must not store (RFC 6749 section 5.1)."""
    return Reply(status, (JSON, NO_STORE, *headers), _encode(body), None, client_id)


def shown_word(reason: Reason) -> str:
    """The word that the client sees. Only the metric and the log say why client authentication failed."""
    return "invalid_client" if reason.error == "invalid_client" else reason.word


@lru_cache(256)
def refusal(
    reason: Reason,
    detail: str | None = None,
    *headers: tuple[str, str],
    client_id: str | None = None,
    user: str | None = None,
) -> Reply:
    """The JSON error response of RFC 6749 section 5.2 with the sidecar's `reason` and TapData's integer `code`.

    Only the metric and the log say why client authentication failed (`unknown_client`, `bad_client_secret`, `client_disabled`
    and so on). The client sees `invalid_client` for all of them.
    """
    shown = shown_word(reason)
    body = {
        "error": reason.error,
        "error_description": detail or reason.sentence,
        "reason": shown,
        "code": reason.status,
    }
    retry = (("Retry-After", "1"),) if reason.status in (429, 503) else ()
    return Reply(reason.status, (JSON, NO_STORE, *retry, *headers), _encode(body), reason, client_id, user)


def with_retry_after(reply: Reply, seconds: int | None) -> Reply:
    """`reply` with this `Retry-After`; unchanged for `None`."""
    if seconds is None:
        return reply
    kept = [field for field in reply.headers if field[0] != "Retry-After"]
    return reply._replace(headers=(*kept, ("Retry-After", str(seconds))))


def with_fields(reply: Reply, fields: tuple[tuple[str, str], ...]) -> Reply:
    """`reply` with those of `fields` added that it does not have."""
    missing = [field for field in fields if field not in reply.headers]
    return reply._replace(headers=(*reply.headers, *missing)) if missing else reply


def without_code(reply: Reply) -> Reply:
    """`reply` without TapData's `code`, which every refusal in JSON contains."""
    if reply.reason is None or JSON not in reply.headers:
        return reply
    body = json.loads(reply.body)
    body.pop("code", None)
    return reply._replace(body=_encode(body))


def _encode(body: Mapping[str, object]) -> bytes:
    """JSON with a trailing newline, for people at a terminal."""
    return json.dumps(body).encode() + b"\n"
