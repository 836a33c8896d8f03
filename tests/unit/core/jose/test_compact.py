"""core.jose.compact: one spelling of everything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jose.compact import COMPACT, Malformed, read_object


@pytest.mark.parametrize("text", ["a.b.c", "A-_.0.9"])
def test_three_segments_are_compact(text: str) -> None:
    assert COMPACT.fullmatch(text)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c=", "a.b.c\n", "a.b.ç"])
def test_anything_else_is_not(text: str) -> None:
    assert not COMPACT.fullmatch(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"1", b"[]", b'"a"', b"null", b"{", b'{"a": 1, "a": 1}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}',
     b'{"a": 1e400}', b'{"a": [-1e999]}',
     b'{"a": {"b": 1, "b": 2}}', b"\xff", b"\xef\xbb\xbf{}", b"{}x", b"[" * 100_000],
)  # fmt: skip
def test_json_with_two_meanings_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_object(data)


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none() | st.booleans(), max_size=5)
)
def test_an_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    assert read_object(json.dumps(value).encode()) == value
