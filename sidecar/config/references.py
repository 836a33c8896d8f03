"""Finds unresolved references and placeholders in a configuration. Otherwise such a text would itself become the secret.

The check compares a secret as a whole with many forms (`core.placeholders`). In any other text it looks only for forms that
no operator can mean literally. It sees the document with its references resolved, because the content of a variable or a
file can also be a template that was never filled in.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.config.document import HOW_TO_REFER
from sidecar.config.faults import Fault
from sidecar.core.placeholders import UNRESOLVED, holds_reference, secret_fault, stands_for_another

_INDEX: Final = re.compile(r"\[[0-9]+\]")
_SECRETS: Final = ("admin.token", "clients.client_secret", "tokens.signing_keys.secret")
# These values have formats of their own, which the models check.
_ENCODED: Final = (
    "clients.client_secret_hash",
    "clients.client_secret_hashes",
    "clients.public_key",
    "tokens.signing_keys.private_key",
    "tokens.signing_keys.public_key",
    "users.password_hash",
)


def placeholder_faults(document: dict[str, Any]) -> list[Fault]:
    """Return the faults of all strings in a document, each with its path. No fault shows the string."""
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
        return None  # braces and similar characters are pattern syntax there: `core.patterns`
    if kind == "store.url" and (text := _address_fault(value)):
        return text
    if holds_reference(value) or (kind in _ENCODED and stands_for_another(value)):
        return UNRESOLVED
    return None


def _address_fault(url: str) -> str | None:
    """Check the user name and the password in an address, both as written and decoded."""
    try:
        parts = urlsplit(url)
        options = [
            value for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in ("username", "password")
        ]
    except ValueError:
        return None  # the model reports what is wrong with the address
    given = [text for text in (parts.username, parts.password) if text is not None]
    if parts.password == "":
        return "has an empty password: leave out the colon, or set what it refers to"
    if any(map(stands_for_another, [*given, *map(unquote, given), *options])):
        return UNRESOLVED
    return None
