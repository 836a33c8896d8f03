"""The whole file as one frozen model. All other packages import the models from here, including those of the sections."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from sidecar.config.sections.clients import Client
from sidecar.config.sections.credentials import Credentials
from sidecar.config.sections.drain import Drain
from sidecar.config.sections.limits import Limits
from sidecar.config.sections.listen import Admin, Listen, read_listen
from sidecar.config.sections.logging import Logging
from sidecar.config.sections.login import Login
from sidecar.config.sections.model import Model
from sidecar.config.sections.routes import Route
from sidecar.config.sections.signing_keys import SigningKey
from sidecar.config.sections.store import Store
from sidecar.config.sections.streams import Streams
from sidecar.config.sections.throttling import Throttling
from sidecar.config.sections.timeouts import Timeouts
from sidecar.config.sections.tls import Tls
from sidecar.config.sections.tokens import Tokens
from sidecar.config.sections.upstream import Upstream
from sidecar.config.sections.users import User
from sidecar.config.values import Address, Network, PositiveDuration, ProxyHeader

__all__ = [
    "Address",
    "Admin",
    "Client",
    "Credentials",
    "Drain",
    "Limits",
    "Listen",
    "Logging",
    "Login",
    "Route",
    "Settings",
    "SigningKey",
    "Store",
    "Streams",
    "Throttling",
    "Timeouts",
    "Tls",
    "Tokens",
    "Upstream",
    "User",
]


class Settings(Model):
    """The whole file."""

    listen: Annotated[Listen, BeforeValidator(read_listen)] = Listen()
    """The address where clients connect. The short form is `listen: 0.0.0.0:3030`."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """The number of processes that share the port. More than one needs a store that they share, such as `redis://`."""
    workers_timeout: Annotated[PositiveDuration, Field(ge=1)] = 10.0
    """A worker that does not answer its parent for this long is killed and replaced. At least 1s."""
    admin: Admin = Admin()
    """The listener for the console, `/metrics`, `/healthz` and `/readyz`."""
    upstream: Upstream
    """The API server that the sidecar protects."""
    store: Store = Store()
    """Where the sidecar keeps state that outlives a request."""
    tokens: Tokens
    """Which tokens the sidecar issues and accepts."""
    clients: Annotated[tuple[Client, ...], Field(strict=False)] = ()
    """The clients that may request tokens."""
    users: Annotated[tuple[User, ...], Field(strict=False)] = ()
    """The users who may log in, for clients with `authorization_code` or `implicit`."""
    login: Login = Login()
    """The login and consent pages."""
    compat: Literal["tapdata", "rfc"] = "tapdata"
    """`tapdata`: tokens and errors also have TapData's members, and the older form of implicit is accepted. `rfc`: none
    of these."""
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()
    """Which requests need which token. The first route that matches path and method decides; without a match, any valid
    token is sufficient."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    """Addresses and networks of proxies in front of the sidecar, whose `X-Forwarded-*` and similar headers it believes
    and extends."""
    proxy_headers: Annotated[tuple[ProxyHeader, ...], Field(strict=False)] = ()
    """More headers that only a trusted proxy may set. The sidecar drops those of every other peer, in every
    spelling."""
    credentials: Credentials = Credentials()
    """Where the sidecar looks for an access token. A list alone is the short form of `places`."""
    timeouts: Timeouts = Timeouts()
    """How long the sidecar waits for clients and for the API."""
    drain: Drain = Drain()
    """How the sidecar leaves."""
    limits: Limits = Limits()
    """How much work a worker accepts, and how large a request may be."""
    throttling: Throttling = Throttling()
    """How often a caller may try secrets and passwords."""
    streams: Streams = Streams()
    """Long-lived responses, and tunnels such as WebSocket."""
    tls: Tls | None = None
    """TLS on the public listener. Without the section, clients speak plain HTTP to the sidecar."""
    logging: Logging = Logging()
    """What the sidecar writes to stderr."""
    _path: Path | None = PrivateAttr(None)
    _digest: int = PrivateAttr(0)

    def model_post_init(self, context: Any, /) -> None:
        """Remember what the settings were read from. Pydantic calls this method with the context of the validation."""
        self._path = (context or {}).get("file")
        self._digest = (context or {}).get("digest", 0)

    @property
    def path(self) -> Path | None:
        """The file that the settings were read from, or `None` when they did not come from a file."""
        return self._path

    @property
    def digest(self) -> int:
        """48 bits that differ between documents with different values; 0 when the settings did not come from a file. They
        include the signing keys, so nobody without these keys can find out another value from them."""
        return self._digest
