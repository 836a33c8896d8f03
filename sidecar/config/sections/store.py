"""The section `store`: where the sidecar keeps state."""

from typing import Annotated

from pydantic import Field, SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import OnOutage, PositiveDuration, checked_by
from sidecar.core.oauth.names import token_fault
from sidecar.core.partitions import MOST
from sidecar.core.store_address import Topology, read_store_address


def _url_fault(url: str) -> str | None:
    try:
        read_store_address(url)
    except ValueError as exc:
        return str(exc)
    return None


class Store(Model):
    """Where the sidecar keeps state that outlives a request. In `on_outage`, 0 stands for `deny`."""

    url: Annotated[SecretStr, checked_by(_url_fault)] = SecretStr("memory://")
    """`memory://`, `redis://…`, `rediss://…` (TLS), `unix://…`, `redis+sentinel://…` or `redis+cluster://…`."""
    prefix: Annotated[str, Field(max_length=64), checked_by(token_fault)] = "{sidecar}"
    """The beginning of every key. A Cluster needs the braces."""
    partitions: Annotated[int, Field(ge=1, le=MOST)] = 16
    """With a Cluster: into how many parts the state is divided. It cannot be changed later."""
    timeout: PositiveDuration = 1.0
    """How long one command may take."""
    max_staleness: PositiveDuration = 5.0
    """How long requests are admitted while the process cannot show that it knows every revocation. Then it answers
    503."""
    on_outage: OnOutage = 0.0
    """`deny`: 503 after `max_staleness`. `{allow_cached: 5m}`: the revocations that a process knows suffice for so
    long, at most 7d."""

    @property
    def in_process(self) -> bool:
        """Whether the state is in the memory of the process (`memory://`), where no other process can reach it."""
        return self.url.get_secret_value().startswith("memory:")

    @property
    def clustered(self) -> bool:
        """Whether the state is spread over the partitions of a Redis Cluster."""
        return read_store_address(self.url.get_secret_value()).topology is Topology.CLUSTER
