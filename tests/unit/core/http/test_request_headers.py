"""core.headers: what goes through, what is read, what is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.fields import Kinds, request_kinds
from sidecar.core.http.forwarded import client_address, forwarded_block, identity_block
from sidecar.core.http.request_headers import RequestHeaders, read_request_headers
from sidecar.core.http.response_headers import InvalidResponse, read_response_headers
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


RESPONSES = {
    (): (b"", None, False),
    ((b"Content-Length", b"5"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")): (
        b"Content-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        5,
        False,
    ),
    ((b"Content-length", b"005"), (b"X", b"1")): (b"Content-length: 5\r\nX: 1\r\n", 5, False),
    ((b"Content-Length", b"0" * 5000),): (b"Content-Length: 0\r\n", 0, False),
    ((b"Content-Length", b"0" * 5000 + b"7"),): (b"Content-Length: 7\r\n", 7, False),
    ((b"Transfer-Encoding", b"Chunked"), (b"Connection", b"keep-alive"), (b"Keep-Alive", b"1")): (b"", None, True),
    ((b"Connection", b"x-hop, set-cookie"), (b"X-Hop", b"1"), (b"Set-Cookie", b"a")): (
        b"Set-Cookie: a\r\n",
        None,
        False,
    ),
}


@pytest.mark.parametrize(("fields", "expected"), RESPONSES.items())
def test_response(fields: tuple[tuple[bytes, bytes], ...], expected: tuple[bytes, int | None, bool]) -> None:
    headers = read_response_headers(fields)
    assert (b"".join(headers.pieces), headers.length, headers.chunked) == expected


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"+1")],
        [(b"Content-Length", b"")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1")],
    ],
)
def test_response_with_doubtful_framing_is_invalid(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidResponse):
        read_response_headers(fields)


INBOUND = [
    (b"X-Forwarded-For", b"1.1.1.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"pub"),
    (b"Forwarded", b"for=1.1.1.1"),
]


def test_forwarded_of_a_stranger_is_made_new() -> None:
    block = forwarded_block(INBOUND, trusted=False, peer="2.2.2.2", scheme="http", host="h")
    assert block == b"X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"


def test_forwarded_of_a_trusted_proxy_is_continued() -> None:
    block = forwarded_block(INBOUND, trusted=True, peer="2.2.2.2", scheme="http", host="h")
    assert block == (
        b"Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: pub\r\n"
    )


def test_what_proxies_say_goes_on_when_one_is_trusted() -> None:
    """In order, with the bytes that they sent; nothing of it otherwise. Our own certificate replaces another."""
    fields = [
        (b"X-Real-IP", b"1.1.1.1"), (b"x-forwarded-PORT", b"443"), (b"X-Forwarded-Client-Cert", b"Hash=0"), (b"SCRIPT_NAME", b"/a"),
        (b"X_Real_IP", b"forged"), (b"x-forwarded_port", b"forged"), (b"Script-Name", b"forged"), (b"X-My-Edge", b"\xff"),
    ]  # fmt: skip
    headers = read(HOST, *fields, kinds=request_kinds(["x-my-edge"]))
    assert headers.block == b"Host: api.example\r\n"
    made = b"X-Forwarded-For: p\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"
    said = [b"X-Real-IP: 1.1.1.1\r\nx-forwarded-PORT: 443\r\n", b"X-Forwarded-Client-Cert: Hash=0\r\n"]
    said.append(b"SCRIPT_NAME: /a\r\nX-My-Edge: \xff\r\n")
    where = {"peer": "p", "scheme": "http", "host": "h"}
    assert forwarded_block(headers.forwarded, trusted=True, **where) == b"".join(said) + made
    assert forwarded_block(headers.forwarded, trusted=False, **where) == made
    shown = forwarded_block(headers.forwarded, trusted=True, certificate=b"Hash=1", **where)
    assert shown == said[0] + said[2] + b"X-Forwarded-Client-Cert: Hash=1\r\n" + made


def test_identity() -> None:
    assert identity_block("c", "s", ["a", "b"], ["x", "y"]) == (
        b"X-Auth-Client-Id: c\r\nX-Auth-Subject: s\r\nX-Auth-Scope: a b\r\nX-Auth-Roles: x,y\r\n"
    )


CHAINS = {
    "no proxy": ([], "9.9.9.9", "9.9.9.9"),
    "a stranger's word": (["1.2.3.4"], "9.9.9.9", "9.9.9.9"),
    "one proxy": (["1.2.3.4"], "10.0.0.1", "1.2.3.4"),
    "two proxies": (["1.2.3.4, 10.0.0.2"], "10.0.0.1", "1.2.3.4"),
    "what the client made up": (["6.6.6.6, 1.2.3.4"], "10.0.0.1", "1.2.3.4"),
    "in two fields": (["6.6.6.6", "1.2.3.4,10.0.0.2"], "10.0.0.1", "1.2.3.4"),
    "proxies alone": (["10.0.0.3, 10.0.0.2"], "10.0.0.1", "10.0.0.3"),
    "nothing said": ([], "10.0.0.1", "10.0.0.1"),
    "an empty field": ([""], "10.0.0.1", "10.0.0.1"),
    "no address": (["1.2.3.4, unknown"], "10.0.0.1", "10.0.0.1"),
    "no address further left": (["unknown, 10.0.0.2"], "10.0.0.1", "10.0.0.2"),
    "a port": (["1.2.3.4:5678"], "10.0.0.1", "1.2.3.4"),
    "IPv6": (["2001:db8::1"], "10.0.0.1", "2001:db8::1"),
    "IPv6 with a port": (["[2001:db8::1]:80"], "10.0.0.1", "2001:db8::1"),
    "IPv6 in brackets": (["[2001:db8::1]"], "10.0.0.1", "2001:db8::1"),
    "bytes": (["\xff"], "10.0.0.1", "10.0.0.1"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_sender_is_whom_the_last_trusted_proxy_had_before_it(case: str) -> None:
    values, peer, sender = CHAINS[case]
    inbound = [(b"X-Forwarded-Proto", b"http"), *((b"X-Forwarded-For", value.encode("latin-1")) for value in values)]
    assert client_address(inbound, peer=peer, trusts=lambda address: address.startswith("10.")) == sender
