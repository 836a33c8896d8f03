"""What the sidecar itself says, before it is put on a wire: a status, headers and a body.

The endpoints of `oauth` return these and `proxy` writes them; neither knows the other.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from sidecar.core.reasons import Reason


class Reply(NamedTuple):
    """An answer of ours. `reason` says why when it is a refusal; `client_id` and `user` are who was recognised, for the log.
    `told`: an event of its own says what happened."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: Reason | None = None
    client_id: str | None = None
    user: str | None = None
    told: bool = False


class EndpointRequest(NamedTuple):
    """A whole request to one of our own endpoints: body read, path and query split, header names as sent.

    `peer` is the address of who sent it, to the trusted proxies in front of us if there are any.
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
"""An endpoint never raises for what a caller sent: it returns a `Reply`."""

JSON = ("Content-Type", "application/json")
NO_STORE = ("Cache-Control", "no-store")


def json_reply(
    status: int, body: Mapping[str, object], *headers: tuple[str, str], client_id: str | None = None
) -> Reply:
    """A JSON answer that no cache may keep (RFC 6749 section 5.1)."""
    return Reply(status, (JSON, NO_STORE, *headers), _encode(body), None, client_id)


def shown_word(reason: Reason) -> str:
    """The word for the caller: why a client was not recognised is told in metric and log only."""
    return "invalid_client" if reason.error == "invalid_client" else reason.word


@lru_cache(256)
def refusal(
    reason: Reason,
    detail: str | None = None,
    *headers: tuple[str, str],
    client_id: str | None = None,
    user: str | None = None,
) -> Reply:
    """The JSON error body of RFC 6749 section 5.2 with our `reason` and TapData's integer `code`.

    Why a client was not recognised (`unknown_client`, `bad_client_secret`, `client_disabled` and so on) is told in metric
    and log only, so the word is not shown to the caller: all of them say `invalid_client`.
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
    """`reply` with this `Retry-After`; as it is for `None`."""
    if seconds is None:
        return reply
    kept = [field for field in reply.headers if field[0] != "Retry-After"]
    return reply._replace(headers=(*kept, ("Retry-After", str(seconds))))


def with_fields(reply: Reply, fields: tuple[tuple[str, str], ...]) -> Reply:
    """`reply` with those of these header fields that it does not have."""
    missing = [field for field in fields if field not in reply.headers]
    return reply._replace(headers=(*reply.headers, *missing)) if missing else reply


def without_code(reply: Reply) -> Reply:
    """`reply` without TapData's `code`, which every refusal in JSON has."""
    if reply.reason is None or JSON not in reply.headers:
        return reply
    body = json.loads(reply.body)
    body.pop("code", None)
    return reply._replace(body=_encode(body))


def _encode(body: Mapping[str, object]) -> bytes:
    """With a newline at its end, for a person at a terminal."""
    return json.dumps(body).encode() + b"\n"
