"""core.http.proxy_headers and who may set them: a trusted proxy, in the name's own spelling."""

import re

import pytest

from sidecar.core.http.fields import Kind, proxy_header_fault, request_kinds
from sidecar.core.http.proxy_headers import PROXY_HEADERS
from tests.support.documents import ROOT

SEPARATORS = "!#$%&'*+-.^_`|~"
KINDS = request_kinds(["X-My-Edge", "X_Odd.Edge"])
NAMES = [
    *sorted(PROXY_HEADERS),
    b"x-forwarded-for",
    b"x-forwarded-prefix",
    b"x-forwarded-anything-at-all",
    b"x-my-edge",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_proxys_name_is_a_proxys_in_its_own_spelling_alone(name: bytes, separator: str) -> None:
    spelled = name.replace(b"-", separator.encode()).replace(b"_", separator.encode())
    for each in (spelled, spelled.upper(), spelled.title()):
        assert KINDS[each] is (Kind.FORWARDED if spelled == name else Kind.DROP)


def test_a_configured_name_has_the_spelling_of_the_configuration() -> None:
    spellings = [b"X_Odd.Edge", b"x_odd.edge", b"X-Odd-Edge", b"X_Odd_Edge", b"X-My-Edge", b"X_My_Edge"]
    assert [KINDS[name] for name in spellings] == [
        Kind.FORWARDED, Kind.FORWARDED, Kind.DROP, Kind.DROP, Kind.FORWARDED, Kind.DROP,
    ]  # fmt: skip
    assert {request_kinds()[name] for name in spellings} == {Kind.KEEP}


def test_no_name_of_the_table_is_one_of_ours() -> None:
    """Else the table would say nothing about it."""
    kinds = request_kinds()
    assert {kinds[name] for name in PROXY_HEADERS} == {Kind.FORWARDED}


def test_the_documentation_names_them_all() -> None:
    text = (ROOT / "docs/requests.md").read_text()
    rows = re.findall(
        r"^\| (?:who the client is|what it asked for|which certificate it showed) \| (.*) \|$", text, re.MULTILINE
    )
    assert sorted(" ".join(rows).replace("`", "").lower().encode().split()) == sorted(PROXY_HEADERS)


@pytest.mark.parametrize(
    "name",
    [
        "X-Auth-Client-Id", "x_auth_roles", "Content-Length", "Transfer~Encoding", "Host", "Authorization", "Content-Type",
        "content_type", "Content-Encoding", "Cookie", "Set-Cookie", "Connection", "Upgrade", "Expect", "TE", "Trailer",
        "access_token", "Access-Token", "X-HTTP-Method-Override", "X_Method_Override", "X-Forwarded-For", "X-Forwarded-Host",
        "X-Forwarded-Client-Cert", "Keep-Alive", "Proxy-Authorization",
    ],
)  # fmt: skip
def test_what_the_sidecar_reads_itself_cannot_be_a_proxys(name: str) -> None:
    assert (proxy_header_fault(name) or "").startswith("leave this name out")


@pytest.mark.parametrize("name", ["", " ", "X My", "X-My:", "X-\xe4", "X-My\n", "X\r\nY: 1", "(x)"])
def test_what_is_no_name_is_a_fault(name: str) -> None:
    assert (proxy_header_fault(name) or "").startswith("write the name of a header")


@pytest.mark.parametrize("name", ["X-My-Edge", "X_My.Edge", "X-Real-IP", "X-Forwarded-Port", "Remote-User", "x"])
def test_any_other_name_may_be(name: str) -> None:
    assert proxy_header_fault(name) is None
