"""oauth.parameters: what was sent, or why it cannot be read."""

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.parameters import Parameters, _form, _pairs, _unique, form_decoded, read_parameters

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def read(body: bytes, *types: str, query: str = "", more: tuple[tuple[str, str], ...] = ()) -> Parameters:
    headers = (*(("Content-Type", kind) for kind in types), *more)
    return read_parameters(EndpointRequest("POST", "/oauth/token", query, headers, body, "peer"))


def refused(body: bytes, *types: str, query: str = "", more: tuple[tuple[str, str], ...] = ()) -> str:
    """The detail that the caller is told."""
    with pytest.raises(Refused) as caught:
        read(body, *types, query=query, more=more)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value.detail


GOOD_FORMS: list[tuple[bytes, Parameters]] = [
    (b"", {}),
    (b"a=1", {"a": "1"}),
    (b"a=1&b=2", {"a": "1", "b": "2"}),
    (b"a=b=c", {"a": "b=c"}),
    (b"a+b=c+d", {"a b": "c d"}),
    (b"a=%2B%26%3D%25", {"a": "+&=%"}),
    (b"%61=%c3%a4", {"a": "ä"}),
    (b"a=\xc3\xa4", {"a": "ä"}),
    (b"a=1;b=2", {"a": "1;b=2"}),
    (b"A=1&a=2", {"A": "1", "a": "2"}),
    (b"a=", {}),
    (b"a", {}),
    (b"=x", {"": "x"}),
    (b"a=1&", {"a": "1"}),
    (b"a=1&&b=2", {"a": "1", "b": "2"}),
    (b"&".join(b"%d=x" % n for n in range(64)), {str(n): "x" for n in range(64)}),
]
BAD_FORMS = [
    b"a=1&a=1",
    b"a=1&a=2",
    b"a=&a=1",
    b"a&a",
    b"a=1&%61=2",
    b"a=1&%41=1&A=1",
    b"a=%",
    b"a=%4",
    b"a=%zz",
    b"%=a",
    b"a=%\xc3\xa44",
    b"a=\xff",
    b"a=%ff",
    b"a=%c3",
    b"a=%ed%a0%80",  # a surrogate
    b"a=%c0%af",  # an overlong slash
    b"\xef\xbb\xbf\xff",
    b"a=\x00",
    b"a=%00",
    b"a=%0d%0aX-Injected:%201",
    b"a=1\n",
    b"a%1b=1",
    b"a=%7f",
    b"&".join(b"%d=x" % n for n in range(65)),
    b"a" * 100 + b"&" * 100_000,
]
GOOD_JSON: list[tuple[str, Parameters]] = [
    ("{}", {}),
    (' \r\n{"a" : "1"}\t', {"a": "1"}),
    ('{"scope": null, "a": ""}', {}),
    ('{"\\u0061": "\\u00e4 \\" \\\\"}', {"a": 'ä " \\'}),
    ('{"x": 1, "y": 1.5, "z": NaN, "l": [1, {"a": 1, "a": 2}], "o": {"scope": 5}, "t": true, "n": null}', {}),
    ('{"a": "+%41"}', {"a": "+%41"}),
    (json.dumps({str(n): "x" for n in range(64)}), {str(n): "x" for n in range(64)}),
]
BAD_JSON = [
    b"",
    b" ",
    b"{",
    b'{"a": "1"',
    b'{"a": "1",}',
    b'{"a": "1"} x',
    b'{"a": "1"}{"b": "1"}',
    b"{'a': '1'}",
    b'{a: "1"}',
    b"null",
    b"5",
    b'"a"',
    b"[]",
    b'[["a", "1"]]',
    b'[{"a": "1"}]',
    b'{"a": "1", "a": "1"}',
    b'{"a": "1", "a": null}',
    b'{"a": null, "\\u0061": "1"}',
    b'{"x": 1, "x": 1}',
    b'{"a": "\xff"}',
    '{"a": "1"}'.encode("utf-16"),
    b'{"a": "\x00"}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\r\\n"}',
    b'{"\\u001b": "1"}',
    b'{"a": "\\u007f"}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000,
    json.dumps({str(n): "x" for n in range(65)}).encode(),
    b"grant_type=client_credentials",
]


@pytest.mark.parametrize(("body", "parameters"), GOOD_FORMS)
def test_a_form_is_read(body: bytes, parameters: Parameters) -> None:
    assert read(body, FORM) == parameters


@pytest.mark.parametrize(("body", "parameters"), GOOD_JSON)
def test_a_json_object_is_read(body: str, parameters: Parameters) -> None:
    assert read(body.encode(), JSON) == parameters


@pytest.mark.parametrize("body", BAD_FORMS, ids=range(len(BAD_FORMS)))
def test_a_form_is_refused(body: bytes) -> None:
    refused(body, FORM)


@pytest.mark.parametrize("body", BAD_JSON, ids=range(len(BAD_JSON)))
def test_json_is_refused(body: bytes) -> None:
    refused(body, JSON)


OAUTH = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "token",
    "token_type_hint",
    "refresh_token",
    "access_token",
    "code",
    "code_verifier",
    "redirect_uri",
    "username",
    "password",
]


@pytest.mark.parametrize("value", [0, 1.5, True, False, [], ["x"], {}, {"x": "y"}], ids=repr)
@pytest.mark.parametrize("name", OAUTH)
def test_a_json_member_of_oauth_is_a_string(name: str, value: object) -> None:
    refused(json.dumps({name: value}).encode(), JSON)
    assert read(json.dumps({name: "x"}).encode(), JSON) == {name: "x"}
    assert read(json.dumps({name: None}).encode(), JSON) == {}


@pytest.mark.parametrize("name", OAUTH)
def test_a_parameter_of_oauth_in_the_url_is_refused_whatever_it_holds(name: str) -> None:
    escaped = name.replace("e", "%65").replace("o", "%6F")
    for query in (f"{name}=canary", name, f"{name}=", f"x=1&{name}=canary", f"{escaped}=canary"):
        for kind, body in ((FORM, b"a=1"), (JSON, b"{}")):
            assert "canary" not in refused(body, kind, query=query)


@pytest.mark.parametrize("query", ["", "trace=1", "x", "x=grant_type", "my_scope=1", "SCOPE=1", "a=1&a=2"])
def test_a_query_of_other_things_is_no_matter(query: str) -> None:
    assert read(b"a=1", FORM, query=query) == {"a": "1"}


@pytest.mark.parametrize("query", ["%", "x=%zz", "%ff", "&" * 64])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    """It could hold a parameter that somebody else reads there."""
    refused(b"a=1", FORM, query=query)


@pytest.mark.parametrize(
    "kind", [FORM, FORM.upper(), FORM + ";charset=UTF-8", FORM + " ; charset=utf-8", f" {FORM}", f"{FORM};"]
)
def test_a_form_by_its_media_type(kind: str) -> None:
    assert read(b"a=1", kind) == {"a": "1"}


@pytest.mark.parametrize("kind", [JSON, "Application/JSON", JSON + "; charset=utf-8"])
def test_json_by_its_media_type(kind: str) -> None:
    assert read(b'{"a":"1"}', kind) == {"a": "1"}


@pytest.mark.parametrize(
    "types",
    [
        (),
        ("",),
        (";",),
        ("text/plain",),
        ("multipart/form-data; boundary=x",),
        ("application/jsonp",),
        ("application/problem+json",),
        ("application",),
        (f"{FORM}, {JSON}",),
        (f"x; {FORM}",),
        (FORM, FORM),
        (FORM, JSON),
    ],
)
def test_any_other_media_type_is_refused(types: tuple[str, ...]) -> None:
    refused(b"a=1", *types)


@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
@pytest.mark.parametrize("name", ["Content-Encoding", "content-encoding", "CONTENT-ENCODING"])
def test_a_compressed_body_is_refused(name: str, coding: str) -> None:
    """Unpacked, a few bytes could fill the memory."""
    refused(b"a=1", FORM, more=((name, coding),))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"client_secret=canary&client_secret=canary", FORM),
        (b'{"client_secret":"canary', JSON),
        (b"client_secret=canary%", FORM),
        (b"client_secret=canary%00", FORM),
        (b"client_secret=canary", "canary/x"),
    ],
)
def test_what_the_caller_is_told_repeats_nothing(body: bytes, kind: str) -> None:
    assert "canary" not in refused(body, kind)


visible = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10)


@given(st.dictionaries(visible, visible, max_size=8))
def test_what_a_client_encodes_is_read(sent: dict[str, str]) -> None:
    assert read(urlencode(sent).encode(), FORM) == sent
    assert read(json.dumps(sent).encode(), JSON) == sent
    assert read(json.dumps(sent, ensure_ascii=False).encode(), JSON) == sent


@given(visible, visible, st.sampled_from(["", "&x=1", "&x=1&"]))
def test_twice_is_refused_whatever_the_values(name: str, value: str, between: str) -> None:
    one, other = urlencode({name: value}), urlencode({name: value[::-1]})
    if name != "x":
        refused(f"{one}{between}&{other}".encode(), FORM)


@given(
    st.lists(
        st.sampled_from(["a", "b", "resource", "=", "=x", "&", "&", "+", "%41", "%", "\0", "\x7f", "ä", "\u200b"]),
        max_size=14,
    )
)
def test_a_form_that_is_read_in_one_go_is_read_as_one_field_after_the_other(pieces: list[str]) -> None:
    text = "".join(pieces)

    def outcome(read: Callable[[], Parameters]) -> object:
        try:
            return list(read().items())
        except Refused as refusal:
            return refusal.detail

    assert outcome(lambda: _form(text)) == outcome(lambda: _unique(_pairs(text)))


@pytest.mark.parametrize("count", [64, 65])
def test_a_plain_form_has_at_most_64_fields(count: int) -> None:
    plain = "&".join(f"n{number}=v" for number in range(count)).encode()
    if count == 64:
        assert len(read(plain, FORM)) == 64
    else:
        assert refused(plain, FORM) == "There are too many parameters."


FRAGMENTS = st.sampled_from(
    [b"a", b"=", b"&", b"%", b"%41", b"%ff", b"+", b"\xc3", b"{", b"}", b'"', b":", b",", b"null", b"[", b"5", b"\\"]
)


@given(
    st.binary(max_size=60) | st.lists(FRAGMENTS, max_size=12).map(b"".join),
    st.sampled_from([FORM, JSON, "x/y"]),
    st.text(max_size=12),
)
def test_anything_is_read_or_refused(body: bytes, kind: str, query: str) -> None:
    try:
        parameters = read(body, kind, query=query)
    except Refused as refusal:
        reason = refusal.reason
    else:
        assert all(type(value) is str and value for value in parameters.values())
        return
    assert reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("written", "meant"),
    [("", ""), ("a", "a"), ("a+b", "a b"), ("a%2Bb", "a+b"), ("%C3%A4", "ä"), ("ä", "ä"), ("%00", "\0")],
)
def test_a_form_value_is_decoded(written: str, meant: str) -> None:
    assert form_decoded(written) == meant


@pytest.mark.parametrize("written", ["%", "a%", "%4", "%4g", "%%41", "%u0041", "%٤١", "%ff", "%ED%A0%80"])
def test_a_form_value_that_takes_guessing_is_refused(written: str) -> None:
    with pytest.raises(Refused):
        form_decoded(written)


def test_a_mark_before_json_is_skipped_and_a_resource_may_come_twice() -> None:
    """RFC 8259 section 8.1, RFC 8707 section 2."""
    assert read(b'\xef\xbb\xbf{"a": "1"}', JSON) == {"a": "1"}
    assert read(b"resource=x&resource=y&a=1", FORM)["a"] == "1"
    assert refused(b"scope=x&scope=y", FORM)
