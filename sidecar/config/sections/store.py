"""The section `store`: where the sidecar keeps state."""

from typing import Annotated

from pydantic import Field, SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import PositiveDuration, checked_by
from sidecar.core.oauth.names import token_fault
from sidecar.core.partitions import MOST
from sidecar.core.store_address import read_store_address


def _url_fault(url: str) -> str | None:
    try:
        read_store_address(url)
    except ValueError as exc:
        return str(exc)
    return None


class Store(Model):
    """Where the sidecar keeps state that outlives a request."""

    url: Annotated[SecretStr, checked_by(_url_fault)] = SecretStr("memory://")
    prefix: Annotated[str, Field(max_length=64), checked_by(token_fault)] = "{sidecar}"
    partitions: Annotated[int, Field(ge=1, le=MOST)] = 16
    timeout: PositiveDuration = 1.0
    max_staleness: PositiveDuration = 5.0

    @property
    def in_process(self) -> bool:
        """Whether the state is in the memory of the process (`memory://`), where no other process can reach it."""
        return self.url.get_secret_value().startswith("memory:")
