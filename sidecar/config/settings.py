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
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    workers_timeout: Annotated[PositiveDuration, Field(ge=1)] = 10.0
    admin: Admin = Admin()
    upstream: Upstream
    store: Store = Store()
    tokens: Tokens
    clients: Annotated[tuple[Client, ...], Field(strict=False)] = ()
    users: Annotated[tuple[User, ...], Field(strict=False)] = ()
    login: Login = Login()
    compat: Literal["tapdata", "rfc"] = "tapdata"
    routes: Annotated[tuple[Route, ...], Field(strict=False)] = ()
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    proxy_headers: Annotated[tuple[ProxyHeader, ...], Field(strict=False)] = ()
    credentials: Credentials = Credentials()
    timeouts: Timeouts = Timeouts()
    drain: Drain = Drain()
    limits: Limits = Limits()
    throttling: Throttling = Throttling()
    streams: Streams = Streams()
    tls: Tls | None = None
    logging: Logging = Logging()
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
