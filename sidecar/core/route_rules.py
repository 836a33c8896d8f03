"""Which fields a route may have (`core.policy`), wherever the route is configured.

Each function returns the fault as a text, or `None`.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from sidecar.core.policy import Access, InvalidPattern, compile_pattern

_METHOD: Final = re.compile(r"[A-Z-]+")


def path_fault(path: str) -> str | None:
    """The fault of a path pattern."""
    try:
        compile_pattern(path)
    except InvalidPattern as exc:
        return str(exc)
    return None


def methods_fault(methods: Collection[str]) -> str | None:
    """The fault of the methods of a route. A route for every method has no such list."""
    if not methods:
        return "name at least one"
    if not all(map(_METHOD.fullmatch, methods)):
        return "write methods in capitals, such as [GET, POST]"
    return None


def scope_fault(access: str, scope: Iterable[str]) -> str | None:
    """The fault of a scope on a route that does not require a token."""
    return f"scope has no meaning with access: {access}" if any(scope) and access != Access.TOKEN else None
