"""core.oauth.redirects: where the answer to an authorization request goes, and where it never does."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.redirects import assures_identity, registered, source_of, with_fragment, with_query

WEB = "https://ok.com/cb"
LOOPBACK = ("http://127.0.0.1/cb", "http://[::1]:1/cb?x=1", "http://127.0.0.1")

THE_SAME = [
    (WEB, WEB),
    ("https://ok.com/cb?a=b", "https://ok.com/cb?a=b"),
    ("com.example.app:/cb", "com.example.app:/cb"),
    ("http://localhost:8/cb", "http://localhost:8/cb"),
    # RFC 8252 section 7.3: the port of loopback addresses is free.
    ("http://127.0.0.1:51004/cb", LOOPBACK[0]),
    ("http://127.0.0.1/cb", LOOPBACK[0]),
    ("http://[::1]:51004/cb?x=1", LOOPBACK[1]),
    ("http://[::1]/cb?x=1", LOOPBACK[1]),
    ("http://127.0.0.1:65535", LOOPBACK[2]),
]
OTHERS = [
    *[
        (asked, WEB)
        for asked in (
            "", "https://ok.com.evil/cb", "//evil", "//ok.com/cb", "https://ok.com:443/cb", "https://ok.com:8443/cb",
            "https://OK.com/cb", "HTTPS://ok.com/cb", "https://ok.com/CB", "https://ok.com@evil/cb", "https://evil@ok.com/cb",
            "https://ok.com\\@evil/cb", "https:\\\\ok.com\\cb", "https://ok.com/cb#", "https://ok.com/cb#evil",
            "https://ok.com/cb/", "https://ok.com/cb?", "https://ok.com/cb?a=b", "https://ok.com/./cb", "https://ok.com/x/../cb",
            "https://ok.com/%63b", "https://ok.com/cb\r\nX: 1", " https://ok.com/cb", "https://ok.com/cb ", "https://ok.com/cb\0",
            "http://ok.com/cb", "javascript:alert(1)", "data:text/html,x", "https://ok.com./cb", "https://ok\u3002com/cb",
        )
    ],
    *[
        (asked, LOOPBACK[0])
        for asked in (
            "http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:99999999/cb",
            "http://127.0.0.1:80/cb/", "http://127.0.0.1:80/", "http://127.0.0.1:80", "http://127.0.0.1:80/cb?x", "http://127.0.0.1.evil/cb",
            "http://127.0.0.1:80@evil/cb", "http://127.0.0.1:80#/cb", "https://127.0.0.1:80/cb", "http://127.0.0.2:80/cb",
            "http://localhost:80/cb", "http://[::1]:80/cb", "http://127.1:80/cb", "http://2130706433:80/cb", "http://127.0.0.1:８０/cb",
            "http://127.0.0.1:80/cb\n", "http://127.0.0.1:80/cb#x", "http://127.0.0.1evil/cb",
        )
    ],
    ("http://localhost:81/cb", "http://localhost:80/cb"),
    ("com.example.app://cb", "com.example.app:/cb"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "uri"), THE_SAME)
def test_a_registered_uri_is_taken(asked: str, uri: str) -> None:
    assert registered(asked, ["https://first.example/", uri])


@pytest.mark.parametrize(("asked", "uri"), OTHERS)
def test_any_other_is_not(asked: str, uri: str) -> None:
    assert not registered(asked, [uri])
    assert not registered(asked, [])


@given(st.text(), st.sampled_from([WEB, *LOOPBACK]))
def test_nothing_but_a_port_may_differ(asked: str, uri: str) -> None:
    if registered(asked, [uri]) and asked != uri:
        assert uri in LOOPBACK
        assert urlsplit(asked)._replace(netloc="") == urlsplit(uri)._replace(netloc="")
        assert urlsplit(asked).hostname == urlsplit(uri).hostname


@given(
    st.dictionaries(
        st.sampled_from(["state", "code", "iss", "error_description"]), st.text(st.characters(codec="utf-8"))
    )
)
def test_parameters_come_back_as_they_were(parameters: dict[str, str]) -> None:
    kept = {name: value for name, value in parameters.items() if value}
    for uri in (WEB, f"{WEB}?a=b&c=%20", "com.example.app:/cb"):
        location = with_query(uri, parameters)
        assert location.isascii()
        assert location.startswith(uri)
        query = dict(parse_qsl(urlsplit(location).query))
        assert {name: value for name, value in query.items() if name in parameters} == kept
        fragment = with_fragment(uri, parameters)
        assert dict(parse_qsl(fragment.removeprefix(uri + "#"))) == kept


@pytest.mark.parametrize(
    ("uri", "source", "assured"),
    [
        ("https://ok.com:8443/cb?a", "https://ok.com:8443", True),
        ("http://127.0.0.1:81/cb", "http://127.0.0.1:81", False),
        ("http://[::1]:81/cb", "http:", False),
        ("com.example.app:/cb", "com.example.app:", False),
    ],
)
def test_what_a_policy_allows_and_whom_it_reaches(uri: str, source: str, assured: bool) -> None:
    assert (source_of(uri), assures_identity(uri)) == (source, assured)
