"""core.credentials: where a token stands, and what is left without it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.credentials import Found, bearer_token, from_json, from_pairs


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer x", "x"),
        ("BEARER  x ", "x"),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("Basic eA==", None),
        ("", None),
    ],
)
def test_bearer(value: str, token: str | None) -> None:
    assert bearer_token(value) == token


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
        ('{"a":' + "[" * 100_000, (), '{"a":' + "[" * 100_000),
    ],
)
def test_json(text: str, tokens: tuple[str, ...], rest: str) -> None:
    assert from_json(text) == Found(tokens, rest)


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
