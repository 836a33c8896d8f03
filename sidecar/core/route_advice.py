"""Routes that are valid but surely not intended: those that never decide, and those that leave open what they seem to close.

Only certain findings are reported: one pattern must cover another literally, and a route is compared with what the routes
decide for a path below it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sidecar.core.http.paths import fold
from sidecar.core.policy import ANY_VALID_TOKEN, Access, InvalidPattern, Route, compile_pattern

_BELOW: Final = "below"


class Remark(NamedTuple):
    """A remark about the route at index `place`. The text refers to other routes by their index, such as `routes[0]`."""

    place: int
    text: str


def remarks(routes: Sequence[Route]) -> list[Remark]:
    """The remarks about valid routes in this order."""
    known = _Routes(routes)
    return [Remark(index, text) for index in range(len(routes)) for text in known.about(index)]


class _Routes:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._rules = [(route, compile_pattern(route.path)) for route in routes]

    def about(self, index: int) -> Iterator[str]:
        route, _ = self._rules[index]
        before = self._before(index)
        if before is not None:
            yield f"never decides: routes[{before}] stands before it and holds for all of it"
            return
        yield from self._twins(index)
        yield from self._left_open(route)
        yield from _doubts(route.path)

    def _before(self, index: int) -> int | None:
        route, _ = self._rules[index]
        for earlier, (other, pattern) in enumerate(self._rules[:index]):
            if _same_methods(other, route) and _covers(other.path, pattern, route.path):
                return earlier
        return None

    def _twins(self, index: int) -> Iterator[str]:
        route, _ = self._rules[index]
        for earlier, (other, _) in enumerate(self._rules[:index]):
            same = other.path != route.path and fold(other.path) == fold(route.path)
            if same and _share_methods(other, route) and (_looser(other, route) or _looser(route, other)):
                yield (
                    f"differs from routes[{earlier}].path in letter case alone, and asks for something else: a server that "
                    "ignores letter case gives the same page for both"
                )

    def _left_open(self, route: Route) -> Iterator[str]:
        """Paths below a route that are more open than it: below `/admin*`, or below `/admin/*` and `/admin` with `deny`."""
        *_, last = segments = route.path.rstrip("/").split("/")
        if last in ("", "**") or ("*" in last and not last.endswith("*")):
            return
        wide = last.endswith("*") and last != "*"
        if route.access is not Access.DENY and not wide:
            return
        base = "/".join([*segments[:-1], last.rstrip("*") or "*"])
        for method in sorted(route.methods or ["GET"]):
            met = self._met(method, f"{base.replace('*', _BELOW)}/{_BELOW}")
            if _looser(met, route) and not met.path.startswith(f"{base}/"):
                yield f"holds for one segment: what is below is left to {self._name(met)}{_instead(base, route.path)}"
                return

    def _met(self, method: str, path: str) -> Route:
        for route, pattern in self._rules:
            if (route.methods is None or method in route.methods) and pattern.fullmatch(path):
                return route
        return ANY_VALID_TOKEN

    def _name(self, met: Route) -> str:
        for index, (route, _) in enumerate(self._rules):
            if route is met:
                return f"routes[{index}] ({met.access})"
        return "any valid token"


def _same_methods(wide: Route, narrow: Route) -> bool:
    """Whether `wide` applies to every method of `narrow`. A route for GET applies to HEAD."""
    if wide.methods is None or narrow.methods is None:
        return wide.methods is None
    return narrow.methods <= wide.methods | ({"HEAD"} if "GET" in wide.methods else frozenset())


def _share_methods(left: Route, right: Route) -> bool:
    return left.methods is None or right.methods is None or not left.methods.isdisjoint(right.methods)


def _covers(wide: str, pattern: re.Pattern[str], narrow: str) -> bool:
    """Whether `wide` matches everything that `narrow` matches, as far as their texts show."""
    if "**" not in narrow:
        return pattern.fullmatch(narrow) is not None  # only a star matches a literal star
    above = wide.removesuffix("/**")
    return wide == narrow or ("*" not in above and wide != above and f"{narrow}/".startswith(f"{above}/"))


def _looser(met: Route, route: Route) -> bool:
    """Whether `met` admits more requests than `route`."""
    if met.access is Access.DENY or route.access is Access.PUBLIC:
        return False
    return met.access is Access.PUBLIC or route.access is Access.DENY or not route.scope <= met.scope


def _instead(base: str, path: str) -> str:
    pattern = f"{base.removesuffix('/*')}/**"
    try:
        compile_pattern(pattern)
    except InvalidPattern:
        return ""
    return f"; write {pattern}" + (" as well, or instead" if path.endswith("*") and not path.endswith("/*") else "")


def _doubts(path: str) -> Iterator[str]:
    """Remarks about patterns that may be intended, but look like those of another tool."""
    *above, last = path.rstrip("/").split("/")
    if last in (".*", ".+"):
        yield f"{last} is no regular expression here and means a name that begins so; write {'/'.join([*above, '**'])} for all"
    elif re.fullmatch(r"\*[A-Za-z_]{3,}", last):
        yield f"means one segment that ends so; write {'/'.join([*above, '**'])} for all that is below"
    elif last.endswith("$") and len(last) > 1:
        yield f"means a path that ends in $, which is no anchor here; write {path.rstrip('/').removesuffix('$')}"
