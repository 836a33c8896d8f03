"""The section `login`: the login and consent pages."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from sidecar.config.sections.model import Model
from sidecar.config.templates import template_fault
from sidecar.config.values import KIND, PositiveDuration, Text, at_most, checked_by, invalid, is_there, local_path

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def _templates(value: object, info: ValidationInfo) -> Path:
    path = local_path(value, info)
    if path is None or not is_there(path, Path.is_dir):
        raise invalid("is no folder; a relative path is taken from the configuration's folder")
    if message := template_fault(path):
        raise invalid(message)
    return path


def _origin_fault(text: str) -> str | None:
    return None if _ORIGIN.fullmatch(text) else "write an origin, such as https://app.example.com"


Origin = Annotated[str, checked_by(_origin_fault)]


Folder = Annotated[
    Path, BeforeValidator(_templates), WithJsonSchema({"type": "string", "minLength": 1, KIND: "folder"})
]


class Login(Model):
    """The pages for users."""

    site: Text | None = None
    """The name of the site on the pages. Default: the host of `tokens.issuer`."""
    session_ttl: Annotated[PositiveDuration, at_most(30 * 86400, "30d")] = 12 * 3600.0
    """How long a login lasts, at most 30d. It also ends with the browser."""
    consent_ttl: Annotated[PositiveDuration, at_most(365 * 86400, "365d")] = 90 * 86400.0
    """How long the sidecar remembers a consent if the user wants that, at most 365d."""
    code_ttl: Annotated[PositiveDuration, at_most(60, "60s")] = 60.0
    """How long an authorization code is valid, at most 60s."""
    scopes: dict[str, Text] = Field(default_factory=dict)
    """What scopes mean, in words for the consent page."""
    templates_dir: Folder | None = None
    """A folder with templates of your own. Missing ones are taken from the sidecar's."""
    form_action: Annotated[tuple[Origin, ...], Field(strict=False)] = ()
    """The origins to which a client's redirect URI redirects in turn. Chromium stops a login that leaves the known
    ones."""
