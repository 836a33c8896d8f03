"""The sections `listen` and `admin`: where the sidecar listens."""

import re
from typing import Annotated, Final

from pydantic import SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import Address, ListenAddress, checked_by, parse_address

_LEAST: Final = 32  # characters; a random text of this length cannot be guessed
_MOST: Final = 512
_PRINTABLE: Final = re.compile(r"[!-~]*")


def _token_fault(text: str) -> str | None:
    if not _PRINTABLE.fullmatch(text):
        return "must be printable ASCII characters without spaces; make one with: openssl rand -hex 32"
    if not _LEAST <= len(text) <= _MOST:
        return f"must be {_LEAST} to {_MOST} characters long; make one with: openssl rand -hex 32"
    return None


class Listen(Model):
    """The public listener."""

    address: ListenAddress = Address("0.0.0.0", 3030)  # noqa: S104  the public listener
    """`HOST:PORT`. Port 0 takes a free port."""
    proxy_protocol: bool = False
    """Whether each of the `trusted_proxies` begins a connection with a header of the PROXY protocol (version 1 or
    2)."""


def read_listen(value: object) -> object:
    """Turn a bare address, as in `listen: 0.0.0.0:3030`, into a section. Return any other value unchanged."""
    return Listen(address=parse_address(value)) if isinstance(value, str) else value


class Admin(Model):
    """The listener for the console, `/metrics`, `/healthz` and `/readyz`."""

    listen: ListenAddress = Address("127.0.0.1", 9464)
    """The address of the console, `/metrics`, `/healthz` and `/readyz`. All but the console ask for no token: keep it off
    the public network."""
    token: Annotated[SecretStr, checked_by(_token_fault)] | None = None
    """What the console asks for. Without it, the console is shown only on a loopback address."""
    ready_needs_store: bool = False
    """Whether `/readyz` says no whenever the store does not answer. Otherwise it says so only until the store has
    answered once."""
