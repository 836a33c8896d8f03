"""Which fields a route may have (`core.policy`), wherever the route is written down.

Each function returns the fault as a text, or `None`.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from sidecar.core.policy import Access, InvalidPattern, compile_pattern

_METHOD: Final = re.compile(r"[A-Z-]+")


def path_fault(path: str) -> str | None:
    """The fault of a pattern of paths."""
    try:
        compile_pattern(path)
    except InvalidPattern as exc:
        return str(exc)
    return None


def methods_fault(methods: Collection[str]) -> str | None:
    """The fault of the methods that a route is about; a route for every method names none of them."""
    if not methods:
        return "name at least one"
    if not all(map(_METHOD.fullmatch, methods)):
        return "write methods in capitals, such as [GET, POST]"
    return None


def scope_fault(access: str, scope: Iterable[str]) -> str | None:
    """The fault of a scope that no token is looked at for."""
    return f"scope has no meaning with access: {access}" if any(scope) and access != Access.TOKEN else None
