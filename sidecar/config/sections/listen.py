"""The sections `listen` and `admin`: where the sidecar listens."""

from sidecar.config.sections.model import Model
from sidecar.config.values import Address, ListenAddress, parse_address


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
    """The listener for `/metrics`, `/healthz` and `/readyz`."""

    listen: ListenAddress = Address("127.0.0.1", 9464)
    """The address of `/metrics`, `/healthz` and `/readyz`, which ask for no token: keep it off the public network."""
    ready_needs_store: bool = False
    """Whether `/readyz` says no whenever the store does not answer. Otherwise it says so only until the store has
    answered once."""
