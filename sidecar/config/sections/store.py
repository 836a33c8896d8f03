"""The section `store`: where state is kept."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import PositiveDuration, invalid, plain

_STORE_OPTIONS = ("db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def _check_store_options(query: str) -> None:
    """redis-py takes every option from the address, also such as would undo our time limits or the check of a certificate."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _STORE_OPTIONS:
            raise invalid(f"only these options may follow the address: {', '.join(_STORE_OPTIONS)}")
        if name.startswith("ssl_") and not Path(value).is_absolute():
            raise invalid(f"{name} must be an absolute path")


class Store(Model):
    """Where state is kept that outlives a request."""

    url: SecretStr = SecretStr("memory://")
    prefix: Annotated[str, Field(max_length=64), AfterValidator(plain)] = "{sidecar}"
    timeout: PositiveDuration = 1.0
    max_staleness: PositiveDuration = 5.0

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            parts.port  # noqa: B018  raises for a port that is none
        except ValueError:
            raise invalid("the host or port cannot be read") from None
        if parts.scheme in ("redis+sentinel", "redis+cluster"):
            raise invalid("Sentinel and Cluster are not supported yet: use redis://, rediss:// or unix://")
        if parts.scheme not in ("memory", "redis", "rediss", "unix"):
            raise invalid("write memory://, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///path/to/redis.sock")
        if parts.scheme in ("redis", "rediss"):
            if not parts.hostname:
                raise invalid("the host is missing")
            if not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would take any other for database 0
                raise invalid("write the database as a number, such as redis://127.0.0.1:6379/0")
        elif parts.scheme == "unix" and not parts.path:
            raise invalid("write the socket's path, such as unix:///run/redis.sock")
        _check_store_options(parts.query)
        return value
