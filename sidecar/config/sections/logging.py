"""The section `logging`: what the sidecar logs to stderr."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from sidecar.config.sections.model import Model


def _off(value: object) -> object:
    return "off" if value is False else value  # YAML reads off without quotes as false


class Logging(Model):
    """What the sidecar logs to stderr. `admitted` is the level at which admitted requests are logged, or `off`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    admitted: Annotated[Literal["off", "debug", "info"], BeforeValidator(_off)] = "debug"
