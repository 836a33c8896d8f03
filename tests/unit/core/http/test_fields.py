"""core.http.fields: what each header field is to us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.fields import (
    Kind,
    Kinds,
    is_named,
    plain_length,
    proxy_header_fault,
    request_kinds,
    response_kind,
)

KINDS = request_kinds(["X-My-Edge"])
TABLE = {
    b"Host": Kind.HOST, b"hOsT": Kind.HOST, b"Content-Length": Kind.CONTENT_LENGTH, b"Transfer-Encoding": Kind.TRANSFER_ENCODING,
    b"Authorization": Kind.AUTHORIZATION, b"access_token": Kind.ACCESS_TOKEN, b"Cookie": Kind.COOKIE, b"Expect": Kind.EXPECT,
    b"X-Auth-Roles": Kind.DROP, b"x_auth~roles": Kind.DROP, b"Content_Length": Kind.AMBIGUOUS, b"Transfer.Encoding": Kind.AMBIGUOUS,
    b"X-Forwarded-For": Kind.FORWARDED, b"X-Forwarded-Whatever": Kind.FORWARDED, b"X_Forwarded_For": Kind.DROP, b"X-Real-IP": Kind.FORWARDED,
    b"X_Real_IP": Kind.DROP, b"X-My-Edge": Kind.FORWARDED, b"x-my_edge": Kind.DROP, b"X-HTTP-Method-Override": Kind.METHOD,
    b"TE": Kind.TE, b"Trailer": Kind.TRAILER, b"Keep-Alive": Kind.DROP, b"Accept": Kind.KEEP, b"X-Request-Id": Kind.KEEP,
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_field_of_a_request(name: bytes) -> None:
    assert KINDS[name] is TABLE[name]
    assert KINDS[name] is TABLE[name]  # remembered


def test_a_name_of_the_operators_is_not_a_proxys_by_itself() -> None:
    assert request_kinds()[b"X-My-Edge"] is Kind.KEEP


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Connection", Kind.CONNECTION),
        (b"DATE", Kind.DATE),
        (b"keep-alive", Kind.KEEP_ALIVE),
        (b"X-Auth-Roles", Kind.KEEP),
    ],
)
def test_a_field_of_a_response(name: bytes, kind: Kind) -> None:
    assert response_kind(name) is kind


def test_what_is_remembered_of_names_is_bounded() -> None:
    """Names are the peer's choice."""
    kinds = Kinds(lambda _: Kind.KEEP)
    for number in range(5000):
        assert kinds[b"X-%d" % number] is Kind.KEEP
    assert len(kinds) <= 1024


@pytest.mark.parametrize(
    "name", ["", "X A", "X:A", "X-Ä", "Host", "content_length", "X-Auth-Roles", "Cookie", "X-HTTP-Method"]
)
def test_what_cannot_be_a_proxys_header(name: str) -> None:
    assert proxy_header_fault(name)


@pytest.mark.parametrize("name", ["X-My-Edge", "X-Real-IP", "X.Edge"])
def test_what_can(name: str) -> None:
    assert proxy_header_fault(name) is None


def test_connection_names_what_ends_here_but_not_what_frames_or_identifies() -> None:
    options = b",close, X-Hop ,host,x-auth-roles,Content-Length"
    assert is_named(b"x-hop", options)
    assert not is_named(b"X-Other", options)
    assert not any(is_named(name, options) for name in (b"Host", b"X-Auth-Roles", b"content-length"))


@given(st.integers(0, 10**15), st.integers(0, 5000))
def test_a_length_has_one_spelling(length: int, zeros: int) -> None:
    assert plain_length(b"0" * zeros + b"%d" % length) == b"%d" % length
