"""proxy.credential: where a request holds its token."""

import pytest
from aiohttp.streams import StreamReader

from sidecar.core.http.paths import RequestTarget
from sidecar.core.http.request_headers import RequestHeaders, read_request_headers
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.credential import (
    Credential,
    body_may_hold_token,
    body_streams,
    find_credential,
    token_in_body,
    token_that_came,
)  # fmt: skip
from sidecar.proxy.rules import CredentialRules, RequestRules
from tests.support.decided import Noted, rules


def headers(*fields: tuple[str, str]) -> RequestHeaders:
    raw = [(b"Host", b"a"), *((name.encode(), value.encode()) for name, value in fields)]
    return read_request_headers(
        raw, kinds=rules().kinds, http_1_0=False, chunked=False, authority=None, default_host=b"a"
    )


def looking(*places: str, limit: int = 100) -> RequestRules:
    return rules(credentials=CredentialRules(frozenset(places), limit, any_header={"bearer", "header"} <= set(places)))


BEARER, FIELD = ("Authorization", "Bearer b"), ("access_token", "h")
ALL = ("bearer", "header", "query", "body")


@pytest.mark.parametrize(
    ("places", "fields", "query", "found"),
    [
        (ALL, [BEARER], None, ("b", None)),
        (ALL, [FIELD], None, ("h", None)),
        (ALL, [], "access_token=q&x=1", ("q", "x=1")),
        (ALL, [], "x=1", (None, "x=1")),
        (ALL, [], "", (None, "")),
        (ALL, [], "access_token=q", ("q", None)),
        (ALL, [("Authorization", "Bearer q")], "access_token=q", ("q", None)),
        (("header",), [BEARER, FIELD], None, ("h", None)),
        (("bearer",), [BEARER, FIELD], None, ("b", None)),
        (("query",), [BEARER, FIELD], "access_token=q", ("q", None)),
        (("bearer",), [BEARER], "access_token=q&x=1", ("b", "x=1")),
        (("body",), [BEARER, FIELD], None, (None, None)),
    ],
)
def test_the_token_of_a_head(
    places: tuple[str, ...], fields: list[tuple[str, str]], query: str | None, found: Credential
) -> None:
    assert find_credential(looking(*places), RequestTarget("/x", query, None), headers(*fields)) == found


@pytest.mark.parametrize(
    ("fields", "query"), [([BEARER, FIELD], None), ([BEARER], "access_token=q"), ([], "access_token=q&access_token=r")]
)
def test_two_different_tokens_are_refused(fields: list[tuple[str, str]], query: str | None) -> None:
    """RFC 6750 section 2."""
    with pytest.raises(Refused) as caught:
        find_credential(looking(*ALL), RequestTarget("/x", query, None), headers(*fields))
    assert caught.value.reason is Reason.MULTIPLE_TOKENS


def post(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["POST /x HTTP/1.1", "Host: a", *lines, "", ""]).encode() + body


FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ([("Content-Type", FORM), ("Content-Length", "10")], True),
        ([("Content-Type", JSON + "; charset=utf-8"), ("Content-Length", "100")], True),
        ([("Content-Type", "application/ld+json"), ("Content-Length", "1")], True),
        ([("Content-Type", JSON), ("Content-Length", "101")], False),
        ([("Content-Type", JSON), ("Content-Length", "0")], False),
        ([("Content-Type", JSON)], False),
        ([("Content-Type", "text/plain"), ("Content-Length", "10")], False),
        ([("Content-Length", "10")], False),
        ([("Content-Type", JSON), ("Content-Encoding", "gzip"), ("Content-Length", "10")], False),
        ([("Content-Type", JSON), ("Expect", "100-continue"), ("Content-Length", "10")], False),
    ],
)
async def test_which_bodies_are_looked_into(fields: list[tuple[str, str]], may: bool) -> None:
    message = Noted(post(*(f"{name}: {value}" for name, value in fields))).message
    assert body_may_hold_token(message, looking(*ALL), headers(*fields)) is may
    assert not body_may_hold_token(message, looking("bearer"), headers(*fields))


async def test_a_body_without_a_length_streams_until_it_is_here() -> None:
    noted = Noted(post("Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
    assert body_streams(noted.message, noted.payload, looking(*ALL))
    whole = Noted(post("Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"))
    assert not body_streams(whole.message, whole.payload, looking(*ALL))
    assert body_streams(whole.message, whole.payload, looking(*ALL, limit=2))
    sized = Noted(post("Content-Length: 5"))
    assert not body_streams(sized.message, sized.payload, looking(*ALL))


@pytest.mark.parametrize(
    ("media", "body", "token", "rest"),
    [
        (FORM, b"a=1&access_token=t&b=%ff", "t", "a=1&b=%ff"),
        (JSON, b'{"access_token": "t", "a": "\xc3\xa4"}', "t", '{ "a": "\xc3\xa4"}'),
        (JSON, b"[1]", None, "[1]"),
        (FORM, b"\xff\xfe", None, "\xff\xfe"),
    ],
)
async def test_a_token_is_cut_out_of_a_body_and_nothing_else(
    media: str, body: bytes, token: str | None, rest: str
) -> None:
    found = token_in_body(body, headers(("Content-Type", media)))
    assert (next(iter(found.tokens), None), found.rest) == (token, rest)
    payload: StreamReader = Noted(post(f"Content-Length: {len(body)}", body=body)).payload
    assert token_that_came(payload, looking(*ALL), headers(("Content-Type", media))) == token


async def test_no_more_than_the_limit_of_a_body_is_looked_at_on_a_closed_route() -> None:
    body = b"access_token=" + b"t" * 200
    payload = Noted(post(f"Content-Length: {len(body)}", body=body)).payload
    assert token_that_came(payload, looking(*ALL), headers(("Content-Type", FORM))) is None
    part = Noted(post(f"Content-Length: {len(body)}", body=body[:20])).payload
    assert token_that_came(part, looking(*ALL), headers(("Content-Type", FORM))) is None
