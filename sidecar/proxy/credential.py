"""Where a request holds its token: header fields, query, body. What to look at is the operator's choice (`proxy.rules`)."""

from typing import Final, NamedTuple

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sidecar.core.http import credentials
from sidecar.core.http.paths import RequestTarget
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.request import declared_length
from sidecar.proxy.rules import RequestRules

_FORM: Final = "application/x-www-form-urlencoded"


class Credential(NamedTuple):
    """What was found: the token, and the query as it goes on."""

    token: str | None
    query: str | None


def find_credential(rules: RequestRules, target: RequestTarget, headers: RequestHeaders) -> Credential:
    """The token of a head, wherever the rules look for it. Raises `Refused(MULTIPLE_TOKENS)`."""
    tokens = headers.tokens
    if rules.credentials.any_header and len(tokens) == 1 and not target.query:
        return Credential(tokens[0], target.query)
    places = rules.credentials.places
    if "bearer" not in places:
        tokens = tokens[headers.bearer :]
    if "header" not in places:
        tokens = tokens[: len(tokens) - (len(headers.tokens) - headers.bearer)]
    query = target.query
    if query:
        found = credentials.from_pairs(query)
        query = found.rest or (None if found.tokens else found.rest)
        if "query" in places:
            tokens += found.tokens
    if len(tokens) > 1 and len(set(tokens)) > 1:
        raise Refused(Reason.MULTIPLE_TOKENS)
    return Credential(tokens[0] if tokens else None, query)


def body_may_hold_token(message: RawRequestMessage, rules: RequestRules, headers: RequestHeaders) -> bool:
    """Only a form or JSON, not compressed; and never when the client waits for 100: it is refused without one."""
    if (
        "body" not in rules.credentials.places
        or not headers.framing
        or headers.content_coded
        or headers.expects_continue
    ):
        return False
    length = declared_length(message)
    return (length is None or 0 < length <= rules.credentials.body_limit) and _media_type(headers) is not None


def body_streams(message: RawRequestMessage, payload: StreamReader, rules: RequestRules) -> bool:
    """Whether a body has no length, and is not all here or too much to look through: it may go on for as long as it
    likes."""
    return bool(message.chunked) and (not payload.is_eof() or payload.total_bytes > rules.credentials.body_limit)


def token_in_body(body: bytes, headers: RequestHeaders) -> credentials.Found:
    """latin-1 keeps every byte in its place; a token is ASCII in any encoding that we could meet."""
    text = body.decode("latin-1")
    return credentials.from_pairs(text) if _media_type(headers) == _FORM else credentials.from_json(text)


def token_that_came(payload: StreamReader, rules: RequestRules, headers: RequestHeaders) -> str | None:
    """The token of a body that came with its head: no closed route waits for more of it."""
    limit = rules.credentials.body_limit
    if not payload.is_eof() or payload.exception() is not None or payload.total_bytes > limit:
        return None
    found = token_in_body(payload.read_nowait(), headers).tokens
    return found[0] if len(set(found)) == 1 else None


def _media_type(headers: RequestHeaders) -> str | None:
    """`_FORM`, `json`, or `None` for a body that holds no fields."""
    media_type = headers.content_type.partition(";")[0].strip().lower()
    if media_type == _FORM:
        return _FORM
    return "json" if media_type == "application/json" or media_type.endswith("+json") else None
