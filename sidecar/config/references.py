"""Unresolved references and placeholders in a configuration. Without this check, such a text would itself become the secret.

Secrets are matched strictly and as a whole (`core.placeholders`); any other text only against forms that cannot be intended.
The check runs after the document's own references are resolved: the content of a variable or a file may be an unfilled template
too.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.config.document import HOW_TO_REFER
from sidecar.config.faults import Fault
from sidecar.core.placeholders import UNRESOLVED, holds_reference, secret_fault, stands_for_another

_INDEX: Final = re.compile(r"\[[0-9]+\]")
_SECRETS: Final = ("clients.client_secret", "tokens.signing_keys.secret")
# The models check the formats of these.
_ENCODED: Final = (
    "clients.client_secret_hash",
    "clients.client_secret_hashes",
    "clients.public_key",
    "tokens.signing_keys.private_key",
    "tokens.signing_keys.public_key",
    "users.password_hash",
)


def placeholder_faults(document: dict[str, Any]) -> list[Fault]:
    """The faults of all texts of a document, each with its path but without the text."""
    return list(_faults(document, ""))


def _faults(value: object, where: str) -> Iterator[Fault]:
    kind = _INDEX.sub("", where)
    if isinstance(value, dict):
        if kind in _SECRETS or kind in _ENCODED:
            yield Fault(where, f"is a section, and nothing here looks into a Secret of Kubernetes: {HOW_TO_REFER}")
            return
        for name, item in value.items():
            yield from _faults(item, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, f"{where}[{index}]")
    elif isinstance(value, str) and (text := _fault(value, kind)):
        yield Fault(where, text)


def _fault(value: str, kind: str) -> str | None:
    if kind in _SECRETS:
        return secret_fault(value)
    if kind == "routes.path":
        return None  # braces and the like have another meaning there: `core.patterns`
    if kind == "store.url" and (text := _address_fault(value)):
        return text
    if holds_reference(value) or (kind in _ENCODED and stands_for_another(value)):
        return UNRESOLVED
    return None


def _address_fault(url: str) -> str | None:
    """The fault of the user name or the password in a URL, both as written and percent-decoded."""
    try:
        parts = urlsplit(url)
        options = [
            value for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in ("username", "password")
        ]
    except ValueError:
        return None  # the model reports what is wrong with it
    given = [text for text in (parts.username, parts.password) if text is not None]
    if parts.password == "":
        return "has an empty password: leave out the colon, or set what it refers to"
    if any(map(stands_for_another, [*given, *map(unquote, given), *options])):
        return UNRESOLVED
    return None
