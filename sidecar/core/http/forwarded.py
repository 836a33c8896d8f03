"""What the API is told about the client: its address and its identity."""

import re
from collections.abc import Callable, Iterable
from typing import Final

# An IPv4 or IPv6 address, the latter with or without brackets; some proxies add the port.
_ADDRESS: Final = re.compile(
    r"([0-9.]{7,15})(?::[0-9]{1,5})?|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)


class ForwardedFields:
    """The fields that describe one client to the API: `X-Forwarded-For`, `-Proto` and `-Host`, and `-Client-Cert` if there is a
    `certificate`. Inbound ones, and all other fields that proxies set, are used only when the peer is `trusted`."""

    __slots__ = ("_block", "_certificate", "_host", "_peer", "_proto", "_trusted")

    def __init__(self, peer: str, scheme: str = "http", *, trusted: bool = False, certificate: bytes = b"") -> None:
        self._peer = peer.encode("latin-1")
        self._proto = _proto(scheme.encode())
        self._certificate = b"X-Forwarded-Client-Cert: %b\r\n" % certificate if certificate else b""
        self._trusted = trusted
        self._host = ""  # the one that `_block` is for, when no proxy said anything
        self._block = b""

    def __repr__(self) -> str:
        return f"<ForwardedFields {self._peer.decode('latin-1')}{' trusted' if self._trusted else ''}>"

    def block(self, inbound: Iterable[tuple[bytes, bytes]], host: str) -> bytes:
        """The fields, serialised, for a request for `host`."""
        if inbound and self._trusted:
            return self._continued(inbound, host)
        if host != self._host:
            self._block = b"".join(
                (self._certificate, b"X-Forwarded-For: ", self._peer, self._proto, host.encode("latin-1"), b"\r\n")
            )
            self._host = host
        return self._block

    def _continued(self, inbound: Iterable[tuple[bytes, bytes]], host: str) -> bytes:
        chain = extra = b""
        proto, name = None, None  # of several, the first; it may be empty
        for field, value in inbound:
            lowered = field.lower()
            if lowered == b"x-forwarded-for":
                chain += value + b", "
            elif lowered == b"x-forwarded-proto":
                proto = value if proto is None else proto
            elif lowered == b"x-forwarded-host":
                name = value if name is None else name
            elif lowered != b"x-forwarded-client-cert" or not self._certificate:
                extra += b"%b: %b\r\n" % (field, value)
        scheme = self._proto if proto is None else _proto(proto)
        host_sent = host.encode("latin-1") if name is None else name
        return b"".join((extra, self._certificate, b"X-Forwarded-For: ", chain, self._peer, scheme, host_sent, b"\r\n"))


def _proto(scheme: bytes) -> bytes:
    """What stands between the address and the host."""
    return b"\r\nX-Forwarded-Proto: " + scheme + b"\r\nX-Forwarded-Host: "


def client_address(inbound: Iterable[tuple[bytes, bytes]], *, peer: str, trusts: Callable[[str], bool]) -> str:
    """The address of the client: the last address in the chain that is not a trusted proxy, which may be the peer itself.

    `X-Forwarded-For` is read from its end, where each trusted proxy appended the address of its peer. Entries further left may
    be forged. An entry that is not an address ends the search.
    """
    chain = b",".join(value for name, value in inbound if name.lower() == b"x-forwarded-for").decode("latin-1")
    found = peer
    for entry in reversed(chain.split(",")):
        if not trusts(found):
            return found
        match = _ADDRESS.fullmatch(entry.strip(" \t"))
        if match is None:
            return found
        found = match[1] or match[2] or match[3]
    return found


def identity_block(client_id: str, subject: str, scope: Iterable[str], roles: Iterable[str]) -> bytes:
    """The fields that tell the upstream who called. The values contain no control characters: `core.tokens` checks them."""
    fields = {
        "X-Auth-Client-Id": client_id,
        "X-Auth-Subject": subject,
        "X-Auth-Scope": " ".join(scope),
        "X-Auth-Roles": ",".join(roles),
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("latin-1")
