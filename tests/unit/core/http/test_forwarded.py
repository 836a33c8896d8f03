"""core.http.forwarded: what the API learns about the client."""

import pytest

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.forwarded import ForwardedFields, client_address, identity_block
from sidecar.core.http.request_headers import read_request_headers

INBOUND = [
    (b"X-Forwarded-For", b"1.1.1.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"pub"),
    (b"Forwarded", b"for=1.1.1.1"),
]


def test_forwarded_of_a_stranger_is_made_new() -> None:
    block = ForwardedFields("2.2.2.2").block(INBOUND, "h")
    assert block == b"X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"


def test_forwarded_of_a_trusted_proxy_is_continued() -> None:
    block = ForwardedFields("2.2.2.2", trusted=True).block(INBOUND, "h")
    assert block == (
        b"Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: pub\r\n"
    )


def test_what_proxies_say_goes_on_when_one_is_trusted() -> None:
    """In order, with the bytes that they sent; nothing of it otherwise. Our own certificate replaces another."""
    fields = [
        (b"X-Real-IP", b"1.1.1.1"), (b"x-forwarded-PORT", b"443"), (b"X-Forwarded-Client-Cert", b"Hash=0"), (b"SCRIPT_NAME", b"/a"),
        (b"X_Real_IP", b"forged"), (b"x-forwarded_port", b"forged"), (b"Script-Name", b"forged"), (b"X-My-Edge", b"\xff"),
    ]  # fmt: skip
    headers = read_request_headers(
        [(b"Host", b"api.example"), *fields],
        kinds=request_kinds(["x-my-edge"]),
        http_1_0=False,
        chunked=False,
        authority=None,
        default_host=b"upstream:80",
    )
    assert headers.block == b"Host: api.example\r\n"
    made = b"X-Forwarded-For: p\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"
    said = [b"X-Real-IP: 1.1.1.1\r\nx-forwarded-PORT: 443\r\n", b"X-Forwarded-Client-Cert: Hash=0\r\n"]
    said.append(b"SCRIPT_NAME: /a\r\nX-My-Edge: \xff\r\n")
    assert ForwardedFields("p", trusted=True).block(headers.forwarded, "h") == b"".join(said) + made
    assert ForwardedFields("p").block(headers.forwarded, "h") == made
    shown = ForwardedFields("p", trusted=True, certificate=b"Hash=1").block(headers.forwarded, "h")
    assert shown == said[0] + said[2] + b"X-Forwarded-Client-Cert: Hash=1\r\n" + made


@pytest.mark.parametrize("trusted", [True, False])
def test_each_host_gets_its_own_fields(trusted: bool) -> None:
    fields = ForwardedFields("p", "https", trusted=trusted, certificate=b"Hash=1")
    for host in ("a", "a", "b", "a"):
        assert fields.block((), host) == (
            b"X-Forwarded-Client-Cert: Hash=1\r\nX-Forwarded-For: p\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: %b\r\n"
            % host.encode()
        )
    assert repr(fields) == f"<ForwardedFields p{' trusted' if trusted else ''}>"


def test_the_first_of_several_says_the_scheme_and_the_host_and_chains_are_joined() -> None:
    inbound = [
        (name, value)
        for value in (b"1", b"2")
        for name in (b"X-Forwarded-Host", b"x-forwarded-for", b"X-FORWARDED-PROTO")
    ]
    assert ForwardedFields("p", trusted=True).block(inbound, "h") == (
        b"X-Forwarded-For: 1, 2, p\r\nX-Forwarded-Proto: 1\r\nX-Forwarded-Host: 1\r\n"
    )


def test_what_a_trusted_proxy_left_empty_stays_empty() -> None:
    inbound = [
        (name, value)
        for value in (b"", b"2")
        for name in (b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-For")
    ]
    assert ForwardedFields("p", trusted=True).block(inbound, "h") == (
        b"X-Forwarded-For: , 2, p\r\nX-Forwarded-Proto: \r\nX-Forwarded-Host: \r\n"
    )


def test_identity() -> None:
    assert identity_block("c", "s", ["a", "b"], ["x", "y"]) == (
        b"X-Auth-Client-Id: c\r\nX-Auth-Subject: s\r\nX-Auth-Scope: a b\r\nX-Auth-Roles: x,y\r\n"
    )


CHAINS = {
    "no proxy": ([], "9.9.9.9", "9.9.9.9"),
    "a stranger's word": (["1.2.3.4"], "9.9.9.9", "9.9.9.9"),
    "one proxy": (["1.2.3.4"], "10.0.0.1", "1.2.3.4"),
    "two proxies": (["1.2.3.4, 10.0.0.2"], "10.0.0.1", "1.2.3.4"),
    "what the client made up": (["6.6.6.6, 1.2.3.4"], "10.0.0.1", "1.2.3.4"),
    "in two fields": (["6.6.6.6", "1.2.3.4,10.0.0.2"], "10.0.0.1", "1.2.3.4"),
    "proxies alone": (["10.0.0.3, 10.0.0.2"], "10.0.0.1", "10.0.0.3"),
    "nothing said": ([], "10.0.0.1", "10.0.0.1"),
    "an empty field": ([""], "10.0.0.1", "10.0.0.1"),
    "no address": (["1.2.3.4, unknown"], "10.0.0.1", "10.0.0.1"),
    "no address further left": (["unknown, 10.0.0.2"], "10.0.0.1", "10.0.0.2"),
    "a port": (["1.2.3.4:5678"], "10.0.0.1", "1.2.3.4"),
    "IPv6": (["2001:db8::1"], "10.0.0.1", "2001:db8::1"),
    "IPv6 with a port": (["[2001:db8::1]:80"], "10.0.0.1", "2001:db8::1"),
    "IPv6 in brackets": (["[2001:db8::1]"], "10.0.0.1", "2001:db8::1"),
    "bytes": (["\xff"], "10.0.0.1", "10.0.0.1"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_sender_is_whom_the_last_trusted_proxy_had_before_it(case: str) -> None:
    values, peer, sender = CHAINS[case]
    inbound = [(b"X-Forwarded-Proto", b"http"), *((b"X-Forwarded-For", value.encode("latin-1")) for value in values)]
    assert client_address(inbound, peer=peer, trusts=lambda address: address.startswith("10.")) == sender
