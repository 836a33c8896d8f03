"""The section `limits`: how much work a worker accepts."""

from typing import Annotated

from pydantic import Field

from sidecar.config.sections.model import Model
from sidecar.config.values import Size
from sidecar.core.capacity import LEAST_MEMORY


class Limits(Model):
    """How much work a worker accepts (`connections`, `in_flight`, `tunnels`), how much `memory` it may hold for its clients
    (`None`: as much as its surroundings allow), and how large a request may be."""

    connections: Annotated[int, Field(ge=1)] = 20_000
    in_flight: Annotated[int, Field(ge=1)] = 2000
    tunnels: Annotated[int, Field(ge=0)] = 1000
    memory: Annotated[Size, Field(ge=LEAST_MEMORY)] | None = None
    body: Annotated[Size, Field(ge=1)] | None = None
    request_line: Annotated[Size, Field(ge=256, le=1024**2)] = 8 * 1024
    headers: Annotated[Size, Field(ge=1024, le=1024**2)] = 32 * 1024
    header_count: Annotated[int, Field(ge=8, le=1000)] = 128
