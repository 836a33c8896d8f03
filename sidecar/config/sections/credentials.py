"""The section `credentials`: where the sidecar looks for an access token."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import Size, not_empty

Place = Literal["bearer", "header", "query", "body"]


class Credentials(Model):
    """Where the sidecar looks for an access token, and the largest body that it searches for one."""

    places: Annotated[tuple[Place, ...], Field(strict=False), not_empty] = (
        "bearer",
        "header",
        "query",
        "body",
    )
    body_limit: Size = 64 * 1024

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"places": value} if isinstance(value, list) else value
