"""The section `limits`: the limits of a worker and of a request."""

from typing import Annotated

from pydantic import Field

from sidecar.config.sections.model import Model
from sidecar.config.values import Size


class Limits(Model):
    """The limits of a worker (`connections`, `in_flight`, `tunnels`), and the largest sizes of a request."""

    connections: Annotated[int, Field(ge=1)] = 20_000
    in_flight: Annotated[int, Field(ge=1)] = 2000
    tunnels: Annotated[int, Field(ge=0)] = 1000
    body: Annotated[Size, Field(ge=1)] | None = None
    request_line: Annotated[Size, Field(ge=256, le=1024**2)] = 8 * 1024
    headers: Annotated[Size, Field(ge=1024, le=1024**2)] = 32 * 1024
    header_count: Annotated[int, Field(ge=8, le=1000)] = 128
