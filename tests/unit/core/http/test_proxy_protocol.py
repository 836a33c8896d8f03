"""The header of the PROXY protocol, byte for byte."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.proxy_protocol import InvalidPreamble, Preamble

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def binary(
    address: str, *, command: int = 1, family: int | None = None, transport: int = 1, extra: bytes = b""
) -> bytes:
    ip = ipaddress.ip_address(address)
    family = (1 if ip.version == 4 else 2) if family is None else family
    body = ip.packed + ip.packed + b"\x12\x34\x00\x50" + extra
    return SIGNATURE + bytes([0x20 + command, family * 16 + transport]) + len(body).to_bytes(2, "big") + body


LINES = {
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n": "203.0.113.7",
    b"PROXY TCP6 2001:db8::7 2001:DB8::1 1 65535\r\n": "2001:db8::7",
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n": "203.0.113.7",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": None,
    binary("203.0.113.7"): "203.0.113.7",
    binary("::ffff:203.0.113.7"): "203.0.113.7",
    binary("2001:db8::7"): "2001:db8::7",
    binary("203.0.113.7", extra=b"\x04\x00\x05hello" * 40): "203.0.113.7",
    binary("203.0.113.7", command=0): None,
    SIGNATURE + b"\x20\x00\x00\x00": None,
}
INVALID = {
    "no header": REST,
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "unknown family": b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "family and address differ": b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
    "zeros before": b"PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n",
    "a name": b"PROXY TCP4 localhost 1.1.1.1 1 1\r\n",
    "a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
    "port": b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
    "one port": b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
    "more": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
    "two spaces": b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "lower case": b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
    "line feed alone": b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
    "too long": b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    "never ends": b"PROXY UNKNOWN " + b"x" * 200,
    "version 1 in binary": SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
    "command": binary("1.1.1.1", command=2),
    "datagrams": binary("1.1.1.1", transport=2),
    "unix": binary("1.1.1.1", family=3),
    "no family": binary("1.1.1.1", family=0),
    "cut short": SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
    "huge": SIGNATURE + b"\x21\x11\xff\xff",
}


def read(data: bytes, sizes: list[int]) -> tuple[str | None, bytes]:
    """Feed `data` as it arrives in parts of `sizes`, as the acceptor does; gives the address and what was left alone."""
    preamble, arrived, taken = Preamble(), 0, 0
    for size in [*sizes, len(data)]:
        arrived = min(len(data), arrived + size)
        while not preamble.done and taken < arrived:
            wanted = preamble.wanted(data[taken:arrived])
            assert 0 < wanted <= arrived - taken
            preamble.feed(data[taken : taken + wanted])
            taken += wanted
    assert preamble.done
    return preamble.address, data[taken:]


@given(st.sampled_from(list(LINES)), st.lists(st.integers(1, 20), max_size=20))
def test_a_header_is_read_to_its_end_and_no_further(header: bytes, sizes: list[int]) -> None:
    assert read(header + REST, sizes) == (LINES[header], REST)


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_cannot_be_believed_is_refused(name: str, size: int) -> None:
    with pytest.raises(InvalidPreamble):
        read(INVALID[name] + REST, [size] * len(INVALID[name]))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    preamble, taken = Preamble(), 0
    try:
        while not preamble.done and taken < len(data):
            wanted = preamble.wanted(data[taken:])
            assert 0 < wanted <= len(data) - taken
            preamble.feed(data[taken : taken + wanted])
            taken += wanted
    except InvalidPreamble:
        assert preamble.address is None
