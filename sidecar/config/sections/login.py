"""The section `login`: the pages for users."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from sidecar.config.sections.model import Model
from sidecar.config.templates import template_fault
from sidecar.config.values import PositiveDuration, Text, at_most, invalid

_MAX_SESSION_TTL = 30 * 86400.0
_MAX_CONSENT_TTL = 365 * 86400.0


def _templates(value: object, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value if isinstance(value, str) and value else None
    if path is None or not path.is_dir():
        raise invalid("is no folder; a relative path is taken from the configuration's folder")
    if fault := template_fault(path):
        raise invalid(fault)
    return path


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
        raise invalid("write an origin, such as https://app.example.com")
    return value


class Login(Model):
    """The pages for people. `scopes` says what each scope means; `form_action` names the origins that a client's redirect URI
    redirects on to."""

    site: Text | None = None
    session_ttl: Annotated[PositiveDuration, at_most(_MAX_SESSION_TTL, "30d")] = 12 * 3600.0
    consent_ttl: Annotated[PositiveDuration, at_most(_MAX_CONSENT_TTL, "365d")] = 90 * 86400.0
    code_ttl: Annotated[PositiveDuration, at_most(60, "60s")] = 60.0
    scopes: dict[str, Text] = Field(default_factory=dict)
    templates_dir: Annotated[Path, BeforeValidator(_templates)] | None = None
    form_action: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], Field(strict=False)] = ()
