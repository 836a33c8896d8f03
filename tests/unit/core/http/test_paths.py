"""core.http.paths: targets that can be read, and how."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.paths import RequestTarget, fold, readings, split_target, valid_authority
from sidecar.core.reasons import Reason, Refused

TARGETS = {
    "/": RequestTarget("/", None, None),
    "/a/b?c=d?e": RequestTarget("/a/b", "c=d?e", None),
    "/a?": RequestTarget("/a", "", None),
    "http://api.example/x?y": RequestTarget("/x", "y", "api.example"),
    "HTTP://api.example:80": RequestTarget("/", None, "api.example:80"),
    "http://api.example?y=1": RequestTarget("/", "y=1", "api.example"),
}
BAD_TARGETS = [
    "*", "http://h/*?\x00", "/a#b", "/a b", "/a\x00", "/caf\u00e9", "/\udcff", "", "a", "//user@h"[2:], "http://user@h/", "http:///x", "ftp://h/", "http://h:port/",
]  # fmt: skip
OPTIONS_TARGETS = {
    "*": RequestTarget("*", None, None),
    "http://api.example": RequestTarget("*", None, "api.example"),
    "http://api.example/": RequestTarget("/", None, "api.example"),
    "http://api.example?y": RequestTarget("/", "y", "api.example"),
    "/": RequestTarget("/", None, None),
}
READINGS = {
    "/": ("/",),
    "/a/b.c/~d": ("/a/b.c/~d",),
    "/a/": ("/a/",),
    "/...": ("/...",),
    "/%61": ("/a",),
    "/a%2fb": ("/a%2Fb", "/a/b"),
    "/a;x=1": ("/a;x=1", "/a"),
    "//a": ("//a", "/", "/a"),
    "/a\\b": ("/a\\b", "/a/b"),
    "/%2561": ("/%61", "/a"),
    "//x/a": ("//x/a", "/a", "/x/a"),
    "///x:80/a": ("///x:80/a", "/a", "/x:80/a"),
    "/\\x/a": ("/\\x/a", "//x/a", "/a", "/x/a"),
    "/%5cx": ("/\\x", "//x", "/", "/x"),
    "/A": ("/A",),
    "/a.": ("/a.", "/a"),
    "/a.../b": ("/a.../b", "/a/b"),
    "/a%20/b": ("/a /b", "/a/b"),
    "/a%20b": ("/a b",),
    "/a%09b": ("/a\tb", "/ab"),
    "/a%23b": ("/a#b", "/a"),
    "/a%3Fb": ("/a?b", "/a"),
    "/%ffa": ("/\udcffa", "/a", "/\ufffda", "/\xffa"),
    "/%c0%afa": ("/\udcc0\udcafa", "/a", "/\ufffd\ufffda", "//a", "/\xc0\xafa", "/"),
    "/%c3%a9": ("/\xe9",),
    "/%ef%bd%81": ("/\uff41",),
    "/%ef%bc%8fa": ("/\uff0fa", "//a", "/", "/a"),
    "/%e2%88%95a": ("/\u2215a", "//a", "/", "/a"),
    "/a%ef%bc%9bb": ("/a\uff1bb", "/a;b", "/a"),
}
AMBIGUOUS = [
    "/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "/public%2f..%5cadmin", "/.", "/a/./b", "/%2e/x",
    "/..%2fx", "/a%00",
    "/a%c0%80", "/%c0%ae%c0%ae/x", "/%ef%bc%8e./x", "/.%ff./x", "/a/.%09./x", "/a/..%20/x", "/.%2e%23/x",
    "/%c0%ae", "//%252f%ff;%C3%A9\\%09%20./", "//x/%ff\\;%C3%A9.%09/ " .strip() + "%20" * 900 + "%2525ff;" * 900,
    "/%zz", "/%", "/%252e%252e/x", "/%25252e%25252e/x", "/a/.%2e/b", "/a\\..\\b", "/%2500", "/.;a/b", "/%252525252e",
]  # fmt: skip


@pytest.mark.parametrize(("raw", "target"), TARGETS.items())
def test_target_is_split(raw: str, target: RequestTarget) -> None:
    assert split_target(raw) == target


@pytest.mark.parametrize(("raw", "target"), OPTIONS_TARGETS.items())
def test_options_may_be_for_the_server_as_a_whole(raw: str, target: RequestTarget) -> None:
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


SAME_IN_ANY_CASE = [
    "I\u0130i\u0131",
    "K\u212ak",
    "S\u017fs",
    "\xc9\xe9",
    "\u03a3\u03c3\u03c2",
    "\xb5\u03bc\u039c",
    "a\uff41\uff21",
]


@pytest.mark.parametrize("letters", SAME_IN_ANY_CASE)
def test_letters_that_a_server_may_take_for_equal_are_folded_to_one(letters: str) -> None:
    assert len({fold(letter) for letter in letters}) == 1


def test_folding_knows_every_letter_and_adds_no_segment() -> None:
    for letter in map(chr, range(sys.maxunicode + 1)):
        cases = (letter.lower(), letter.upper(), letter.title(), letter.swapcase(), letter.casefold())
        folded = fold(letter)
        assert {fold(case) for case in cases} == {folded}, ascii(letter)
        assert folded, ascii(letter)
        assert ("/" in folded) == (letter == "/"), ascii(letter)


def test_what_can_be_read_in_many_ways_costs_little() -> None:
    """Each reading costs time in which nobody else is served: beyond some they are not even made."""
    with pytest.raises(Refused):
        readings("/" + "//%ff;%C3%A9\\%09%20./" * 350)
    assert len(readings("/" + "x%20x" * 20000)) == 1, "a long one that is read in one way passes"


@pytest.mark.parametrize("host", ["a", "a:1", "127.0.0.1:3030", "[::1]", "[::1]:80", "a_b.example", "a:"])
def test_authority_is_valid(host: str) -> None:
    assert valid_authority(host)


@pytest.mark.parametrize(
    "host", ["", "u@h", "a b", "a/b", "a,b@", "[::1", "a:b", "a:123456", "a\\b", "h?x", "h#x", "\u00e4"]
)
def test_authority_is_not_valid(host: str) -> None:
    assert not valid_authority(host)
