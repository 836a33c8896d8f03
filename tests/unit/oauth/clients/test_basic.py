"""oauth.clients.basic: HTTP Basic credentials."""

import base64

import pytest

from sidecar.oauth.clients.basic import InvalidBasic, basic_credentials


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize("space", [" ", "   "])
def test_the_name_ends_at_the_first_colon(scheme: str, space: str) -> None:
    assert basic_credentials(scheme + space + encoded(b"a:b:c")) == ("a", "b:c")


@pytest.mark.parametrize("text", [b":", b"a:", b":b", "ä:ö".encode(), b"a%3A:b+c"])
def test_either_may_be_empty_and_neither_is_form_decoded(text: bytes) -> None:
    assert ":".join(basic_credentials("Basic " + encoded(text))).encode() == text


@pytest.mark.parametrize("value", ["", "Bearer " + encoded(b"a:b"), "Basic" + encoded(b"a:b"), "Digest x"])
def test_another_scheme_is_named_as_the_fault(value: str) -> None:
    with pytest.raises(InvalidBasic, match="must be Basic"):
        basic_credentials(value)


@pytest.mark.parametrize(
    "value", ["", "!", encoded(b"a"), encoded(b"\xff:b"), encoded(b"a:b") + "!", encoded(b"a:b")[:-1], "YTpi\u00e4"]
)
def test_what_cannot_be_read_is_not_shown(value: str) -> None:
    with pytest.raises(InvalidBasic) as caught:
        basic_credentials(f"Basic {value}")
    assert str(caught.value) == "The Basic credentials cannot be read."
