"""The PROXY protocol, versions 1 and 2, with which a load balancer for TCP reports the address of its client.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. The header is sent once, before everything else on a
connection, including TLS. It must be read to its last byte and no further: `Preamble` says how many bytes may be read.
"""

import ipaddress
import re
from typing import Final

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = len(_SIGNATURE) + 4  # what precedes the addresses in version 2
_LONGEST_LINE: Final = 107
# Bytes of addresses and extensions in version 2. The protocol allows 65535, but no load balancer sends as many.
_LONGEST: Final = 4096
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) (\S{2,39}) (\S{2,39}) ([0-9]{1,5}) ([0-9]{1,5}))\r\n"
)
_SIZES: Final = {0x1: 4, 0x2: 16}  # bytes of an address of each family: AF_INET, AF_INET6
_LOCAL, _PROXY, _STREAM = 0x0, 0x1, 0x1


class InvalidPreamble(ValueError):
    """The first bytes of a connection are not a valid header of the PROXY protocol."""


class Preamble:
    """Parses one header. The caller passes bytes to `feed`, never more than `wanted` returned.

    When `done`, `address` is the client's address; `None` for a connection of the load balancer itself, such as a health check.
    """

    def __init__(self) -> None:
        self.address: str | None = None
        self.done = False
        self._data = b""

    def wanted(self, waiting: bytes) -> int:
        """How many of the `waiting` bytes belong to the header. Raises `InvalidPreamble`."""
        begun = self._data + waiting
        if begun.startswith(b"PROXY ") or b"PROXY ".startswith(begun[:6]):
            end = begun.find(b"\n")
            size = len(begun) if end < 0 else end + 1
            if size > _LONGEST_LINE:
                raise InvalidPreamble("the line is too long")
            return size - len(self._data)
        if not _SIGNATURE.startswith(begun[: len(_SIGNATURE)]):
            raise InvalidPreamble("there is no header")
        return min(self._size(begun), len(begun)) - len(self._data)

    def feed(self, data: bytes) -> None:
        """Process bytes of the header. Raises `InvalidPreamble`."""
        self._data += data
        if self._data.startswith(b"PROXY "):
            if self._data.endswith(b"\n"):
                self._read_line()
        elif len(self._data) >= _FIXED and len(self._data) == self._size(self._data):
            self._read_binary()

    @staticmethod
    def _size(data: bytes) -> int:
        """The size of a header of version 2; while its length is not known, the size of the fixed part that contains the
        length."""
        if len(data) < _FIXED:
            return _FIXED
        size = int.from_bytes(data[_FIXED - 2 : _FIXED], "big")
        if size > _LONGEST:
            raise InvalidPreamble("the header is too long")
        return _FIXED + size

    def _read_line(self) -> None:
        match = _LINE.fullmatch(self._data)
        if match is None:
            raise InvalidPreamble("the line cannot be read")
        if match[1] is not None:
            addresses = [_address(text, version=int(match[1])) for text in match.group(2, 3)]
            if any(int(port) > 65535 for port in match.group(4, 5)):
                raise InvalidPreamble("a port is none")
            self.address = addresses[0]
        self.done = True

    def _read_binary(self) -> None:
        version, command = divmod(self._data[len(_SIGNATURE)], 16)
        family, transport = divmod(self._data[len(_SIGNATURE) + 1], 16)
        if version != 2 or command not in (_LOCAL, _PROXY):
            raise InvalidPreamble("the version or the command is unknown")
        if command == _PROXY:
            size = _SIZES.get(family)
            if size is None or transport != _STREAM:
                raise InvalidPreamble("the client is not one that has an IP address and speaks TCP")
            if len(self._data) < _FIXED + 2 * size + 4:
                raise InvalidPreamble("the addresses are cut short")
            self.address = _text(ipaddress.ip_address(self._data[_FIXED : _FIXED + size]))
        self.done = True


def _address(text: bytes, *, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        address = None
    if address is None or address.version != version or getattr(address, "scope_id", None):
        raise InvalidPreamble("an address cannot be read")
    return _text(address)


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The address as text; an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)
