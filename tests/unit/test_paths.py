"""core.paths: targets that can be read, and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.paths import Target, readings, split_target, valid_authority
from sidecar.core.reasons import Reason, Refused

TARGETS = {
    "/": Target("/", None, None),
    "/a/b?c=d?e": Target("/a/b", "c=d?e", None),
    "/a?": Target("/a", "", None),
    "http://api.example/x?y": Target("/x", "y", "api.example"),
    "HTTP://api.example:80": Target("/", None, "api.example:80"),
    "http://api.example?y=1": Target("/", "y=1", "api.example"),
}
BAD_TARGETS = [
    "*", "http://h/*?\x00", "/a#b", "/a b", "/a\x00", "/caf\u00e9", "/\udcff", "", "a", "//user@h"[2:], "http://user@h/", "http:///x", "ftp://h/", "http://h:port/",
]  # fmt: skip
OPTIONS_TARGETS = {
    "*": Target("*", None, None),
    "http://api.example": Target("*", None, "api.example"),
    "http://api.example/": Target("/", None, "api.example"),
    "http://api.example?y": Target("/", "y", "api.example"),
    "/": Target("/", None, None),
}
READINGS = {
    "/": ("/",),
    "/a/b.c/~d": ("/a/b.c/~d",),
    "/a/": ("/a/",),
    "/...": ("/...",),
    "/%61": ("/a",),
    "/a%2fb": ("/a%2Fb", "/a/b"),
    "/a;x=1": ("/a;x=1", "/a"),
    "//a": ("//a", "/a"),
    "/a\\b": ("/a\\b", "/a/b"),
    "/%2561": ("/%61", "/a"),
}
AMBIGUOUS = [
    "/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "/public%2f..%5cadmin", "/.", "/a/./b", "/%2e/x",
    "/..%2fx", "/a%00",
    "/%zz", "/%", "/%252e%252e/x", "/%25252e%25252e/x", "/a/.%2e/b", "/a\\..\\b", "/%2500", "/.;a/b", "/%252525252e",
]  # fmt: skip


@pytest.mark.parametrize(("raw", "target"), TARGETS.items())
def test_target_is_split(raw: str, target: Target) -> None:
    assert split_target(raw) == target


@pytest.mark.parametrize(("raw", "target"), OPTIONS_TARGETS.items())
def test_options_may_be_for_the_server_as_a_whole(raw: str, target: Target) -> None:
    assert split_target(raw, "OPTIONS") == target


@pytest.mark.parametrize("raw", BAD_TARGETS)
def test_target_that_cannot_be_read_is_refused(raw: str) -> None:
    with pytest.raises(Refused) as refused:
        split_target(raw)
    assert refused.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(("path", "expected"), READINGS.items())
def test_readings(path: str, expected: tuple[str, ...]) -> None:
    assert readings(path) == expected


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_what_no_two_servers_agree_on_is_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        readings(path)
    assert refused.value.reason is Reason.AMBIGUOUS_PATH


@given(st.text(st.sampled_from("/.%2eEfF5cC;\\ab0"), max_size=24))
def test_no_reading_ever_holds_a_dot_segment(tail: str) -> None:
    try:
        found = readings("/" + tail)
    except Refused:
        return
    assert not any(segment in (".", "..") for reading in found for segment in reading.split("/"))


@pytest.mark.parametrize("host", ["a", "a:1", "127.0.0.1:3030", "[::1]", "[::1]:80", "a_b.example", "a:"])
def test_authority_is_valid(host: str) -> None:
    assert valid_authority(host)


@pytest.mark.parametrize(
    "host", ["", "u@h", "a b", "a/b", "a,b@", "[::1", "a:b", "a:123456", "a\\b", "h?x", "h#x", "\u00e4"]
)
def test_authority_is_not_valid(host: str) -> None:
    assert not valid_authority(host)
