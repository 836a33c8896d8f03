"""The sections `listen` and `admin`: where the sidecar listens."""

from sidecar.config.sections.model import Model
from sidecar.config.values import Address, ListenAddress, parse_address


class Listen(Model):
    """The public listener. With `proxy_protocol`, each of the `trusted_proxies` first sends the client's address."""

    address: ListenAddress = Address("0.0.0.0", 3030)  # noqa: S104  the public listener
    proxy_protocol: bool = False


def read_listen(value: object) -> object:
    """Expand the short form `listen: 0.0.0.0:3030` to the section; return anything else unchanged."""
    return Listen(address=parse_address(value)) if isinstance(value, str) else value


class Admin(Model):
    """The listener of `/metrics`, `/healthz` and `/readyz`; keep it off the public network."""

    listen: ListenAddress = Address("127.0.0.1", 9464)
