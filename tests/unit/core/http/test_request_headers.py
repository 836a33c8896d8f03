"""core.http.request_headers: what of a request goes on, and what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.fields import Kinds, request_kinds
from sidecar.core.http.request_headers import RequestHeaders, read_request_headers
from sidecar.core.reasons import Reason, Refused

HOST = (b"Host", b"api.example")
KINDS = request_kinds()


def read(
    *fields: tuple[bytes, bytes],
    http_1_0: bool = False,
    chunked: bool = False,
    authority: str | None = None,
    strip: bool = True,
    kinds: Kinds = KINDS,
) -> RequestHeaders:
    return read_request_headers(
        fields,
        kinds=kinds,
        http_1_0=http_1_0,
        chunked=chunked,
        authority=authority,
        default_host=b"upstream:80",
        strip=strip,
    )


def test_order_spelling_and_bytes_stay() -> None:
    fields = [HOST, (b"x-B", b"\xff caf\xe9"), (b"X-a", b""), (b"x-B", b"2"), (b"Cookie", b"a=b; c=d")]
    assert read(*fields).block == b"".join(b"%b: %b\r\n" % field for field in fields)


@pytest.mark.parametrize(
    "name",
    [
        b"X-Auth-Client-Id", b"x-auth-client-id", b"X_AUTH_CLIENT_ID", b"x-auth_client-id", b"X.Auth.Scope", b"X-Auth-Roles",
        b"x-auth-subject",
        b"X-Forwarded-For", b"x_forwarded_for", b"Forwarded", b"X-Forwarded-Proto", b"X-Forwarded_Host",
        b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"Proxy-Authorization", b"Trailer",
        b"Access_Token", b"access_token",
    ],
)  # fmt: skip
def test_field_does_not_go_on(name: bytes) -> None:
    assert read(HOST, (name, b"forged")).block == b"Host: api.example\r\n"


SEPARATORS = "!#$%&'*+-.^_`|~"


def spelled(name: str) -> list[bytes]:
    """A name with each character that may stand in the place of its hyphens, everywhere and once; in several cases."""
    found = [name.replace("-", each, count) for each in SEPARATORS for count in (-1, 1)]
    return [form.encode() for each in found for form in (each, each.upper(), each.title())]


@pytest.mark.parametrize("name", ["x-auth-client-id", "x-auth-subject", "x-auth-scope", "x-auth-roles"])
def test_an_identity_is_dropped_in_every_spelling_that_servers_fold(name: str) -> None:
    fields = [(each, b"forged") for each in spelled(name)]
    assert read(HOST, *fields).block == b"Host: api.example\r\n"
    assert read(HOST, *fields, strip=False).block == b"Host: api.example\r\n"
    assert read(HOST, *fields, (b"Connection", b", ".join(spelled(name)))).block == b"Host: api.example\r\n"


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding"])
def test_what_could_be_taken_for_framing_is_refused_in_every_spelling(name: str) -> None:
    for each in spelled(name):
        if each.lower() != name.encode():
            with pytest.raises(Refused) as refused:
                read(HOST, (each, b"0"))
            assert refused.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
def test_another_method_is_seen_in_every_spelling_and_goes_on(name: str) -> None:
    for each in spelled(name):
        headers = read(HOST, (each, b"Delete"), (b"X-HTTP-Method", b"PUT"))
        assert headers.methods == {"DELETE", "PUT"}
        assert headers.block == b"Host: api.example\r\n%b: Delete\r\nX-HTTP-Method: PUT\r\n" % each
    assert read(HOST, (b"X-HTTP-Methods", b"DELETE"), (name.encode(), b"")).methods == set()


def test_the_cookie_of_a_login_is_cut_wherever_headers_are_read() -> None:
    fields = [(b"Cookie", b"a=1; __Host-sidecar=x"), (b"X", b"1"), (b"cookie", b"sidecar=y"), (b"COOKIE", b"b")]
    for strip in (True, False):
        headers = read(HOST, *fields, (b"Content-Length", b"3"), strip=strip)
        assert headers.block == b"Host: api.example\r\nCookie: a=1\r\nX: 1\r\nCOOKIE: b\r\nContent-Length: 3\r\n"
        assert headers.resized(4) == headers.block.replace(b"3", b"4")


def test_framing_goes_on_in_one_spelling() -> None:
    assert read(HOST, (b"content-Length", b"00050"), (b"X", b"1")).block == (
        b"Host: api.example\r\ncontent-Length: 50\r\nX: 1\r\n"
    )
    assert read(HOST, (b"Content-Length", b"000")).block == b"Host: api.example\r\nContent-Length: 0\r\n"
    assert read(HOST, (b"Transfer-encoding", b"CHUNKED"), chunked=True).framing == b"Transfer-encoding: chunked\r\n"


def test_fields_that_connection_names_end_here() -> None:
    headers = read(
        HOST, (b"X-Hop", b"1"), (b"Content-Length", b"2"), (b"X-End", b"1"), (b"Connection", b"close, X-hop ,x-end2")
    )
    assert headers.block == b"Host: api.example\r\nContent-Length: 2\r\nX-End: 1\r\n"
    assert headers.resized(17) == b"Host: api.example\r\nContent-Length: 17\r\nX-End: 1\r\n"


@pytest.mark.parametrize("name", [b"host", b"content-length", b"content-type", b"cookie", b"authorization"])
def test_connection_cannot_name_what_frames_or_identifies(name: bytes) -> None:
    fields = [
        HOST,
        (b"Content-Length", b"2"),
        (b"Content-Type", b"x/y"),
        (b"Cookie", b"a"),
        (b"Authorization", b"Basic eA=="),
    ]
    assert read(*fields, (b"Connection", name)).block == read(*fields).block


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ([], {}),
        ([HOST, HOST], {}),
        ([(b"Host", b"")], {}),
        ([(b"Host", b"user@h")], {}),
        ([HOST, (b"Transfer-Encoding", b"chunked")], {"http_1_0": True, "chunked": True}),
        ([HOST, (b"Transfer-Encoding", b"gzip, chunked")], {"chunked": True}),
        ([HOST, (b"Transfer-Encoding", b"identity")], {}),
        ([HOST, (b"Transfer_Encoding", b"chunked")], {}),
        ([HOST, (b"Content_Length", b"0")], {}),
        ([HOST, (b"content.LENGTH", b"0")], {}),
        ([HOST, (b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], {"chunked": True}),
    ],
)
def test_ambiguous_framing_or_host_is_refused(fields: list[tuple[bytes, bytes]], options: dict[str, bool]) -> None:
    with pytest.raises(Refused) as refused:
        read(*fields, **options)
    assert refused.value.reason is Reason.MALFORMED_REQUEST


def test_two_authorization_fields_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        read(HOST, (b"Authorization", b"Bearer a"), (b"authorization", b"Basic b"))
    assert refused.value.reason is Reason.MULTIPLE_TOKENS


def test_tokens_are_found_and_taken() -> None:
    headers = read(HOST, (b"Authorization", b"bearer A"), (b"access_token", b"B"), (b"Access_Token", b""))
    assert (headers.tokens, headers.bearer, headers.block) == (("A", "B"), 1, b"Host: api.example\r\n")


def test_other_schemes_belong_to_the_api() -> None:
    headers = read(HOST, (b"Authorization", b"Basic eA=="))
    assert headers.tokens == ()
    assert b"Authorization: Basic eA==\r\n" in headers.block


def test_public_routes_keep_what_is_not_ours() -> None:
    headers = read(HOST, (b"Authorization", b"Bearer theirs"), strip=False)
    assert b"Authorization: Bearer theirs\r\n" in headers.block


def test_absolute_form_replaces_host_in_place() -> None:
    headers = read((b"A", b"1"), HOST, authority="real.example:81")
    assert (headers.block, headers.host) == (b"A: 1\r\nHost: real.example:81\r\n", "real.example:81")


def test_http_1_0_without_host_gets_the_upstreams() -> None:
    headers = read((b"Content-Length", b"0"), http_1_0=True)
    assert (headers.block, headers.host) == (b"Host: upstream:80\r\nContent-Length: 0\r\n", "upstream:80")


@given(st.lists(st.sampled_from([b"X-A", b"x-hop", b"Cookie", b"Accept"])), st.integers(0, 4))
def test_framing_keeps_its_place_whatever_is_dropped(names: list[bytes], place: int) -> None:
    fields = [(name, b"%d" % number) for number, name in enumerate(names)]
    fields.insert(place, (b"Content-Length", b"3"))
    block = read(HOST, *fields, (b"Connection", b"x-hop")).block
    expected = [HOST, *(field for field in fields if field[0] != b"x-hop")]
    assert block == b"".join(b"%b: %b\r\n" % field for field in expected)
