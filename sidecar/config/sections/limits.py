"""The section `limits`: how much work a worker accepts."""

from typing import Annotated

from pydantic import Field

from sidecar.config.sections.model import Model
from sidecar.config.values import Size
from sidecar.core.capacity import LEAST_MEMORY


class Limits(Model):
    """How much work a worker accepts, and how large a request may be."""

    connections: Annotated[int, Field(ge=1)] = 20_000
    """Client connections of a worker."""
    in_flight: Annotated[int, Field(ge=1)] = 2000
    """Requests that a worker answers at the same time. Beyond it, the sidecar answers 503 at once."""
    tunnels: Annotated[int, Field(ge=0)] = 1000
    """Upgraded connections of a worker, such as WebSocket."""
    memory: Annotated[Size, Field(ge=LEAST_MEMORY)] | None = None
    """What a worker may hold for its clients. Default: as much as the container or the machine allows, divided by
    `workers`."""
    body: Annotated[Size, Field(ge=1)] | None = None
    """The largest body of a request. Default: no limit. Beyond it, the sidecar answers 413."""
    request_line: Annotated[Size, Field(ge=256, le=1024**2)] = 8 * 1024
    """The longest request line."""
    headers: Annotated[Size, Field(ge=1024, le=1024**2)] = 32 * 1024
    """The largest head of a request, all fields together."""
    header_count: Annotated[int, Field(ge=8, le=1000)] = 128
    """The number of fields in a request."""
