"""core.http.credentials: where a token stands, and what is left without it."""

import contextlib
import json
import time
from collections.abc import Callable
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.credentials import FIELD, Found, bearer_token, from_json, from_pairs
from sidecar.core.reasons import Reason, Refused


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer x", "x"),
        ("BEARER  x ", "x"),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("Bearer  ", ""),
        ("Basic eA==", None),
        ("BearerToken x", None),
        ("Bearer-x y", None),
        (" Bearer x", None),
        ("", None),
    ],
)
def test_bearer(value: str, token: str | None) -> None:
    assert bearer_token(value) == token


@pytest.mark.parametrize(
    "value", ["Bearer\tx", "Bearer\t x", "bearer,x", "Bearer=x", 'Bearer"x"', "Bearer\xa0x", "Bearer:x"]
)
def test_bearer_is_followed_by_a_space(value: str) -> None:
    with pytest.raises(Refused) as refused:
        bearer_token(value)
    assert refused.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("text", "tokens", "rest"),
    [
        ("", (), ""),
        ("a=1&b=2", (), "a=1&b=2"),
        ("access_token=x", ("x",), ""),
        ("a=1&access_token=x&b=%20", ("x",), "a=1&b=%20"),
        ("access%5Ftoken=x&a", ("x",), "a"),
        ("%61ccess_token=x", ("x",), ""),
        ("access_token=", (), ""),
        ("access_token", (), ""),
        ("access_token=x&access_token=y", ("x", "y"), ""),
        ("my_access_token=x", (), "my_access_token=x"),
        ("a=%61&&b", (), "a=%61&&b"),
        ("&access_token=x&&", ("x",), "&&"),
        ("a&&access_token=x", ("x",), "a&"),
        ("access_token=%41%2e+B", ("A. B",), ""),
        ("access_token=%4", ("%4",), ""),
        ("access_token=a=b;c", ("a=b;c",), ""),
        ("access_token;a=x", (), "access_token;a=x"),
        ("access%255Ftoken=x", (), "access%255Ftoken=x"),
        ("a=1?access_token=x", (), "a=1?access_token=x"),
    ],
)
def test_pairs(text: str, tokens: tuple[str, ...], rest: str) -> None:
    assert from_pairs(text) == Found(tokens, rest)


@pytest.mark.parametrize(
    ("text", "tokens", "rest"),
    [
        ('{"access_token":"x"}', ("x",), "{}"),
        ('{"access_token":"x","a":1}', ("x",), '{"a":1}'),
        ('{"a": 1.50, "access_token" : "x" , "b":[ ]}', ("x",), '{"a": 1.50, "b":[ ]}'),
        ('{"a":1, "access_token":"x"}', ("x",), '{"a":1}'),
        (' {"access\\u005ftoken":"x"} ', ("x",), " {} "),
        ('{"a":{"access_token":"x"}}', (), '{"a":{"access_token":"x"}}'),
        ('{"access_token":7,"a":1}', (), '{"access_token":7,"a":1}'),
        ('{"access_token":"x","access_token":"y"}', ("x", "y"), "{}"),
        ('{"access_token":"","a":1}', (), '{"a":1}'),
        ('["access_token"]', (), '["access_token"]'),
        ("{}", (), "{}"),
        ('{"access_token":"x"', (), '{"access_token":"x"'),
        ('{"access_token":"x"} trailing', (), '{"access_token":"x"} trailing'),
        ('{"access_token":"x",}', (), '{"access_token":"x",}'),
        ("nonsense", (), "nonsense"),
        ('{"\\u0061ccess_toke\\u006E":"x","a":1}', ("x",), '{"a":1}'),
        ('{"\\u0041ccess_token":"x"}', (), '{"\\u0041ccess_token":"x"}'),
        ('{"a":' + "[" * 100_000, (), '{"a":' + "[" * 100_000),
    ],
)
def test_json(text: str, tokens: tuple[str, ...], rest: str) -> None:
    assert from_json(text) == Found(tokens, rest)


escaped = st.sampled_from(
    [FIELD, "%61ccess_token", "access%5Ftoken", "access%5ftoken", "".join(f"%{ord(c):02X}" for c in FIELD)]
)
pieces = st.one_of(escaped, st.sampled_from(["&", "=", "+", "a", "%41", "%26", "%3d", "_", ";"]))


@given(st.lists(pieces).map("".join))
def test_pairs_are_read_as_a_plain_loop_reads_them(text: str) -> None:
    fields = [(pair, *pair.partition("=")[::2]) for pair in text.split("&")]
    tokens = [unquote_plus(value) for _, name, value in fields if unquote_plus(name) == FIELD]
    rest = [pair for pair, name, _ in fields if unquote_plus(name) != FIELD]
    assert from_pairs(text) == Found(tuple(filter(None, tokens)), "&".join(rest))


SIZE = 64 * 1024
COSTLY = {
    "many escapes": "%&" * (SIZE // 2),
    "many fields": "&" * (SIZE - 1) + "%",
    "many names": "%61&" * (SIZE // 4),
    "many tokens": "access_token=x&" * (SIZE // 15),
    "a long token": "access_token=" + "%41" * (SIZE // 3 - 5),
    "a broken token": "access_token=" + "%" * (SIZE - 13),
    "many members": "{" + ",".join(['"" : 0'] * (SIZE // 8)) + "}",
    "members and numbers": "{" + ",".join(['"":0'] * 990) + ',"a":[' + ",".join(["1e308"] * 9900) + "]}",
    "depth": '{"a":' + "[" * (SIZE - 5),
    "spaces": "{" + " " * (SIZE - 2) + "}",
    "many members beside an escape": r'{"\u0061":0,' + ",".join(['"" : 0'] * (SIZE // 8)) + "}",
    "numbers beside the name": '{"access_token":"x"' + ',"":0' * 990 + ',"a":[' + ",".join(["1e308"] * 9900) + "]}",
    "depth below the name": '{"access_token":' + "[" * (SIZE - 16),
    "spaces around the name": "{" + " " * (SIZE // 2) + '"access_token"' + " " * (SIZE // 2 - 20) + "}",
}


@pytest.mark.parametrize("case", COSTLY)
def test_nobody_waits_long_for_a_body_of_64_kib(case: str) -> None:
    """About 2 ms at most, where it was up to 41; the bound leaves room for a busy machine."""
    reader = from_json if COSTLY[case].startswith("{") else from_pairs
    assert min(_seconds(reader, COSTLY[case]) for _ in range(5)) < 0.008


def _seconds(reader: Callable[[str], Found], text: str) -> float:
    begun = time.thread_time()
    with contextlib.suppress(Refused):
        reader(text)
    return time.thread_time() - begun


def test_an_object_with_too_many_members_is_refused() -> None:
    members = [f'"{number}":0' for number in range(1000)]
    assert from_json("{" + ",".join(members) + "}").tokens == ()
    with pytest.raises(Refused) as refused:
        from_json("{" + ",".join([*members, '"access_token":"x"']) + "}")
    assert refused.value.reason is Reason.MALFORMED_REQUEST
    with pytest.raises(Refused):
        from_json("{" + ",".join([*members, '"acc\\u0065ss_token":"x"']) + "}")


def test_an_object_that_cannot_hold_the_name_may_have_as_many_members_as_it_likes() -> None:
    text = "{" + ",".join(rf'"{number}":"\n\""' for number in range(5000)) + "}"
    assert from_json(text) == Found((), text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.integers(0, 5), st.sampled_from([None, 2]))
def test_only_the_token_is_cut_from_json(document: dict[str, object], place: int, indent: int | None) -> None:
    document.pop("access_token", None)
    items = list(document.items())
    items.insert(place, ("access_token", "the-token"))
    found = from_json(json.dumps(dict(items), indent=indent))
    assert found.tokens == ("the-token",)
    assert json.loads(found.rest) == document


@given(st.binary(max_size=200))
def test_nothing_breaks_the_readers(data: bytes) -> None:
    text = data.decode("latin-1")
    assert len(from_json(text).rest) <= len(text)
    assert len(from_pairs(text).rest) <= len(text)
