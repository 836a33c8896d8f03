"""The section `upstream`: the API server."""

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import LocalFile, PositiveDuration, checked_by, invalid, not_empty
from sidecar.core.http.paths import valid_authority
from sidecar.tls import InvalidTls, upstream_context

_URL: Final = {"type": "string", "pattern": "^(?:https?://|unix:///).+", "examples": ["http://127.0.0.1:3080"]}


class UpstreamTls(Model):
    """TLS settings for an https upstream. The sidecar always checks the upstream's certificate."""

    ca: LocalFile | None = None
    """The CA that signed the API's certificate. Default: those of the system."""
    certificate: LocalFile | None = None
    """The sidecar's own certificate, shown when the API asks for one."""
    key: LocalFile | None = None
    """The PEM of its private key."""
    server_name: str | None = None
    """The name in the API's certificate, when it is not the host of `url`."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise invalid("certificate and key belong together")
        try:
            upstream_context(self.ca, self.certificate, self.key)
        except InvalidTls as exc:
            raise invalid(str(exc)) from None
        return self


def _upstream_url(value: object) -> str:
    if not isinstance(value, str):
        raise invalid("must be an address, or a list of them")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise invalid("the host cannot be read") from None
    if parts.scheme == "unix":
        if parts.netloc or not parts.path:
            raise invalid("write a Unix socket with three slashes, such as unix:///run/api.sock")
        return value
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("write an address such as http://127.0.0.1:3080, https://api.internal or unix:///run/api.sock")
    try:
        parts.port  # noqa: B018  raises ValueError for an invalid port
    except ValueError:
        raise invalid("the port must be a number from 1 to 65535") from None
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise invalid("only scheme, host and port belong here: paths are forwarded as they come")
    return value


def _upstream_urls(value: object) -> tuple[str, ...]:
    return tuple(_upstream_url(url) for url in (value if isinstance(value, list) else [value]))


def _host_fault(host: str) -> str | None:
    if host in ("keep", "upstream") or valid_authority(host):
        return None
    return "write keep (as the client sent it), upstream (as upstream.url names it), or a name such as api.internal"


Urls = Annotated[
    tuple[str, ...],
    BeforeValidator(_upstream_urls),
    not_empty,
    WithJsonSchema({"anyOf": [_URL, {"type": "array", "items": _URL, "minItems": 1}]}),
]


class Upstream(Model):
    """The API server that the sidecar protects, or several servers of the same API."""

    url: Urls
    """`http://HOST:PORT`, `https://HOST:PORT` or `unix:///run/api.sock`, or a list of servers of the same API. Let the
    API listen on loopback, so that no client can bypass the sidecar."""
    tls: UpstreamTls = UpstreamTls()
    """TLS towards an `https` upstream, whose certificate is always checked."""
    host: Annotated[str, checked_by(_host_fault)] = "keep"
    """The `Host` that the API gets: `keep` (as the client sent it), `upstream` (as `url` names it), or a name."""
    max_connections: Annotated[int, Field(ge=1, le=65535)] = 1024
    """Connections to the API, per worker. Beyond it, the sidecar answers 503."""
    idle: PositiveDuration = 4.0
    """How long an unused connection is kept. It must be shorter than the API keeps it."""
    max_age: PositiveDuration = 300.0
    """How long a connection is used at most, so that changes in DNS are seen."""
