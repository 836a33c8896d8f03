"""Finds the token of a request in header fields, query or body. The operator chooses which of them to search
(`proxy.rules`)."""

from typing import Final

from sidecar.core.http import credentials
from sidecar.core.http.paths import RequestTarget
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.request import Body, Message, declared_length
from sidecar.proxy.rules import RequestRules

_FORM: Final = "application/x-www-form-urlencoded"


Credential = tuple[str | None, str | None]
"""The token that was found, and the query to forward. A named tuple would cost more than finding them."""


def find_credential(rules: RequestRules, target: RequestTarget, headers: RequestHeaders) -> Credential:
    """The token in the head, in any place that the rules allow. Raises `Refused(MULTIPLE_TOKENS)`."""
    tokens = headers.tokens
    query = target.query
    if len(tokens) == 1 and rules.credentials.any_header and (not query or not credentials.may_be_in(query)):
        return tokens[0], query
    places = rules.credentials.places
    if "bearer" not in places:
        tokens = tokens[headers.bearer :]
    if "header" not in places:
        tokens = tokens[: len(tokens) - (len(headers.tokens) - headers.bearer)]
    if query:
        found = credentials.from_pairs(query)
        query = found.rest or (None if found.tokens else found.rest)
        if "query" in places:
            tokens += found.tokens
    if len(tokens) > 1 and len(set(tokens)) > 1:
        raise Refused(Reason.MULTIPLE_TOKENS)
    return tokens[0] if tokens else None, query


def body_may_hold_token(message: Message, rules: RequestRules, headers: RequestHeaders) -> bool:
    """Only a form or JSON that is not compressed; and never when the client waits for 100, since such a request is refused
    without a 100 response."""
    if (
        "body" not in rules.credentials.places
        or not headers.framing
        or headers.content_coded
        or headers.expects_continue
    ):
        return False
    length = declared_length(message)
    return (length is None or 0 < length <= rules.credentials.body_limit) and _media_type(headers) is not None


def body_streams(message: Message, payload: Body, rules: RequestRules) -> bool:
    """Whether a body has no length, and has either not arrived completely or is too large to search: it may continue
    indefinitely."""
    return bool(message.chunked) and (not payload.is_eof() or payload.total_bytes > rules.credentials.body_limit)


def token_in_body(body: bytes, headers: RequestHeaders) -> credentials.Found:
    """latin-1 preserves every byte; a token is ASCII in every encoding that is likely to occur."""
    text = body.decode("latin-1")
    return credentials.from_pairs(text) if _media_type(headers) == _FORM else credentials.from_json(text)


def token_that_came(payload: Body, rules: RequestRules, headers: RequestHeaders) -> str | None:
    """The token of a body that arrived with its head: a closed route waits for no more of the body."""
    limit = rules.credentials.body_limit
    if not payload.is_eof() or payload.exception() is not None or payload.total_bytes > limit:
        return None
    found = token_in_body(payload.read_nowait(), headers).tokens
    return found[0] if len(set(found)) == 1 else None


def _media_type(headers: RequestHeaders) -> str | None:
    """`_FORM`, `json`, or `None` for a body without fields."""
    media_type = headers.content_type.partition(";")[0].strip().lower()
    if media_type == _FORM:
        return _FORM
    return "json" if media_type == "application/json" or media_type.endswith("+json") else None
