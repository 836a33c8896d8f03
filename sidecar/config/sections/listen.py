"""The sections `listen` and `admin`: where the sidecar listens."""

from sidecar.config.sections.model import Model
from sidecar.config.values import Address, ListenAddress, parse_address


class Listen(Model):
    """The public listener. With `proxy_protocol`, each of the `trusted_proxies` first sends a header that names the client."""

    address: ListenAddress = Address("0.0.0.0", 3030)  # noqa: S104  the public listener
    proxy_protocol: bool = False


def read_listen(value: object) -> object:
    """Turn a bare address, as in `listen: 0.0.0.0:3030`, into a section. Return any other value unchanged."""
    return Listen(address=parse_address(value)) if isinstance(value, str) else value


class Admin(Model):
    """The listener for `/metrics`, `/healthz` and `/readyz`. Keep it off the public network.

    With `ready_needs_store`, the sidecar is not ready whenever the store does not answer; otherwise only until it has answered
    once.
    """

    listen: ListenAddress = Address("127.0.0.1", 9464)
    ready_needs_store: bool = False
