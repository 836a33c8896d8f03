"""The section `credentials`: where the sidecar looks for an access token."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import Size, not_empty

Place = Literal["bearer", "header", "query", "body"]


class Credentials(Model):
    """Where the sidecar looks for an access token."""

    places: Annotated[tuple[Place, ...], Field(strict=False), not_empty] = (
        "bearer",
        "header",
        "query",
        "body",
    )
    """`bearer` is `Authorization: Bearer`; the others are a header, a query parameter and a body field named
    `access_token`. A token in a URL can end up in logs (RFC 9700 section 4.3.2): remove `query` if no client needs
    it."""
    body_limit: Size = 64 * 1024
    """The sidecar searches a form or JSON body up to this size, and only when no other place held a token."""

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"places": value} if isinstance(value, list) else value
