"""Which rule holds for a request: the `routes` of the configuration, first match wins, no match means any valid token.

Rules:
- `*` matches within one segment, `**` any number of segments, also none: `/a/**` holds for `/a`, `/a/` and all below.
- A slash at the end makes no difference to a match.
- A rule for GET also holds for HEAD: else HEAD would slip past the scope that GET needs.
- A path with several readings (`core.paths`) must meet the same rule in each, else it is refused as ambiguous.
- Where a header asks for another method, every method that may be meant must meet the same rule.
- `*` alone is the target of `OPTIONS *`, which no other pattern matches: it is no path.
- Our own endpoints are rules too (`Access.LOCAL`, before all others), so that a path that only some servers would read
  as ours is ambiguous as well.
"""

import re
from collections.abc import Iterable, Set
from enum import StrEnum
from typing import Final, NamedTuple

from sidecar.core.methods import ANY
from sidecar.core.paths import readings
from sidecar.core.reasons import Reason, Refused

_MEMO_LIMIT: Final = 2048
_LONGEST_MEMO: Final = 256


class Access(StrEnum):
    """What a route asks for. `LOCAL`: answered by the sidecar itself."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105  the name of a rule
    DENY = "deny"
    LOCAL = "local"


class InvalidPattern(ValueError):
    """A route's `path` cannot be a pattern; the text says what is right."""


class Route(NamedTuple):
    """A rule. `methods` `None`: every method. `scope`: all of them are needed."""

    path: str
    methods: frozenset[str] | None = None
    access: Access = Access.TOKEN
    scope: frozenset[str] = frozenset()


ANY_VALID_TOKEN: Final = Route("/**")


def compile_pattern(path: str) -> re.Pattern[str]:
    """The expression for a pattern such as `/orders/**` or `/files/*.json`. Raises `InvalidPattern`."""
    if path == "*":
        return re.compile(r"\*")  # the target of OPTIONS for the server as a whole
    if not path.startswith("/") or any(char in path for char in "?#%\\; \t"):
        raise InvalidPattern("write a path that starts with / and has no query or encoding, such as /orders/**, or *")
    if "//" in path or any(segment in (".", "..") for segment in path.split("/")):
        raise InvalidPattern("leave out empty and dot segments")
    if path.count("**") > 1 or any(segment.replace("**", "").count("*") > 1 for segment in path.split("/")):
        # Two that compete for the same text would take time that grows with its square, or worse.
        raise InvalidPattern("use ** once, and * once in a segment")
    expression = ""
    for segment in path.strip("/").split("/") if path != "/" else ():
        if segment == "**":
            expression += "(?:/[^/]*)*"
        elif "**" in segment:
            raise InvalidPattern("** stands alone in its segment, such as /a/**")
        elif segment == "*":
            expression += "/[^/]+"
        else:
            expression += "/" + re.escape(segment).replace(r"\*", "[^/]*")
    return re.compile(expression + "/?", re.DOTALL)


class RoutePolicy:
    """Finds the rule for a method and a path; remembers answers, within bounds, since paths repeat."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._rules = [(route, compile_pattern(route.path)) for route in routes]
        self._memo: dict[tuple[str, str], Route] = {}
        named = {method for route, _ in self._rules for method in route.methods or ()}
        self._told_apart = frozenset([*named, "HEAD", ANY])  # `ANY` stands for every other

    def __repr__(self) -> str:
        return f"<RoutePolicy {len(self._rules)} routes>"

    def decide(self, method: str, path: str) -> Route:
        """The rule for a path as it was sent. Raises `Refused(AMBIGUOUS_PATH)` when its readings disagree."""
        route = self._memo.get((method, path))
        if route is None:
            route = self._decide(method, path)
            if len(path) <= _LONGEST_MEMO:
                if len(self._memo) >= _MEMO_LIMIT:
                    self._memo.clear()  # somebody walks random paths: start again, never grow
                self._memo[method, path] = route
        return route

    def decides_alike(self, method: str, others: Set[str], path: str) -> bool:
        """Whether a request meets one rule, whichever of `others` it is taken for; `ANY` is every method. Raises
        `Refused(AMBIGUOUS_PATH)` as `decide` does."""
        meant = self._told_apart if ANY in others else {each if each in self._told_apart else ANY for each in others}
        decided = self.decide(method, path)
        return all(self.decide(each, path) == decided for each in meant)

    def _decide(self, method: str, path: str) -> Route:
        found = {self._match(method, reading) for reading in readings(path)}
        if len(found) > 1:
            raise Refused(Reason.AMBIGUOUS_PATH)
        return found.pop()

    def _match(self, method: str, path: str) -> Route:
        named = "GET" if method == "HEAD" else method
        for route, pattern in self._rules:
            if (route.methods is None or named in route.methods or method in route.methods) and pattern.fullmatch(path):
                return route
        return ANY_VALID_TOKEN
