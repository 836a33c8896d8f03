"""What the API is told about the client: its address and its identity."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.core.http.fields import CONTINUED

# An IPv4 or IPv6 address, the latter with or without brackets; some proxies add the port.
_ADDRESS: Final = re.compile(
    r"([0-9.]{7,15})(?::[0-9]{1,5})?|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)


def forwarded_block(
    inbound: Iterable[tuple[bytes, bytes]],
    *,
    trusted: bool,
    peer: str,
    scheme: str,
    host: str,
    certificate: bytes = b"",
) -> bytes:
    """`X-Forwarded-For`, `-Proto` and `-Host`, and `-Client-Cert` if there is a `certificate`. The `inbound` ones, and all
    other fields that proxies set, are used only when the peer is `trusted`."""
    values: dict[bytes, list[bytes]] = {}
    extra = b""
    for name, value in inbound if trusted else ():
        lowered = name.lower()
        if lowered in CONTINUED:
            values.setdefault(lowered, []).append(value)
        elif lowered != b"x-forwarded-client-cert" or not certificate:
            extra += b"%b: %b\r\n" % (name, value)
    chain = b", ".join([*values.get(b"x-forwarded-for", ()), peer.encode("latin-1")])
    proto = values.get(b"x-forwarded-proto", [scheme.encode()])[0]
    name = values.get(b"x-forwarded-host", [host.encode("latin-1")])[0]
    if certificate:
        extra += b"X-Forwarded-Client-Cert: %b\r\n" % certificate
    return extra + b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (chain, proto, name)


def client_address(inbound: Iterable[tuple[bytes, bytes]], *, peer: str, trusts: Callable[[str], bool]) -> str:
    """The address of the client: the last address in the chain that is not a trusted proxy, which may be the peer itself.

    `X-Forwarded-For` is read from its end, where each trusted proxy appended the address of its peer. Entries further left may
    be forged. An entry that is not an address ends the search.
    """
    if not trusts(peer):
        return peer
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
