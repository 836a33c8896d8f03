"""The section `logging`: what the sidecar writes to stderr."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from sidecar.config.sections.model import Model


def _off(value: object) -> object:
    return "off" if value is False else value  # YAML reads an unquoted off as False


Admitted = Annotated[
    Literal["off", "debug", "info"],
    BeforeValidator(_off),
    WithJsonSchema({"enum": ["off", "debug", "info", False]}),
]


class Logging(Model):
    """What the sidecar writes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Refused requests have the level `info`; failures of the API or the sidecar, `warning`."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` writes text to a terminal, and JSON elsewhere."""
    admitted: Admitted = "debug"
    """The level of admitted requests, or `off`."""
