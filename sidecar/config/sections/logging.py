"""The section `logging`: what the sidecar writes to stderr."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from sidecar.config.sections.model import Model


def _off(value: object) -> object:
    return "off" if value is False else value  # YAML reads an unquoted off as False


class Logging(Model):
    """What the sidecar writes to stderr. `admitted` is the log level of admitted requests, or `off`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    admitted: Annotated[Literal["off", "debug", "info"], BeforeValidator(_off)] = "debug"
