"""core.base64url: each text stands for one sequence of bytes, and each sequence has one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.base64url import InvalidBase64url, decode, encode


@pytest.mark.parametrize(("data", "text"), [(b"", ""), (b"a", "YQ"), (b"\xfb\xff", "-_8"), (bytes(3), "AAAA")])
def test_the_alphabet_is_that_of_urls_and_there_is_no_padding(data: bytes, text: str) -> None:
    assert encode(data) == text
    assert decode(text) == data


@given(st.binary(max_size=100))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    text = encode(data)
    assert decode(text) == data
    assert "=" not in text


@pytest.mark.parametrize(
    "text", ["YQ==", "YQ=", "YR", "Y", "Y!", "YQ\n", " YQ", "Y Q", "YQ+", "YQ/", "ÿ", "YQ\x00", "YQ\ud800"]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidBase64url) as caught:
        decode(text)
    assert text not in str(caught.value)


@given(st.text("ABab01-_=+/ \n", max_size=12))
def test_two_texts_never_stand_for_the_same_bytes(text: str) -> None:
    try:
        data = decode(text)
    except InvalidBase64url:
        return
    assert encode(data) == text
