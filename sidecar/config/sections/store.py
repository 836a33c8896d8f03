"""The section `store`: where the sidecar keeps state."""

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import Field, SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import PositiveDuration, checked_by
from sidecar.core.oauth.names import token_fault

_OPTIONS: Final = ("db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def _url_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for an invalid port
    except ValueError:
        return "the host or port cannot be read"
    return _place_fault(parts) or _options_fault(parts.query)


def _place_fault(parts: SplitResult) -> str | None:
    match parts.scheme:
        case "memory":
            return None
        case "redis" | "rediss":
            if not parts.hostname:
                return "the host is missing"
            if not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would read any other path as database 0
                return "write the database as a number, such as redis://127.0.0.1:6379/0"
            return None
        case "unix":
            return None if parts.path else "write the socket's path, such as unix:///run/redis.sock"
        case "redis+sentinel" | "redis+cluster":
            return "Sentinel and Cluster are not supported yet: use redis://, rediss:// or unix://"
    return "write memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///path/to/redis.sock"


def _options_fault(query: str) -> str | None:
    """Allow only the options in `_OPTIONS`.

    redis-py accepts every option in the address, even one that disables a time limit or the certificate check.
    """
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            return f"only these options may follow the address: {', '.join(_OPTIONS)}"
        if name.startswith("ssl_") and not Path(value).is_absolute():
            return f"{name} must be an absolute path"
    return None


class Store(Model):
    """Where the sidecar keeps state that outlives a request."""

    url: Annotated[SecretStr, checked_by(_url_fault)] = SecretStr("memory://")
    prefix: Annotated[str, Field(max_length=64), checked_by(token_fault)] = "{sidecar}"
    timeout: PositiveDuration = 1.0
    max_staleness: PositiveDuration = 5.0

    @property
    def in_process(self) -> bool:
        """Whether the state is in the memory of the process (`memory://`), where no other process can reach it."""
        return self.url.get_secret_value().startswith("memory:")
