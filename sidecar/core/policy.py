"""Which route applies to a request: the first match in the `routes` of the configuration. Without a match, any valid token will
do.

Rules:
- `*` matches within one segment, `**` any number of segments, including none: `/a/**` matches `/a`, `/a/` and everything below.
- A trailing slash makes no difference to a match.
- A route for GET also applies to HEAD; otherwise HEAD would bypass the scope that GET needs.
- A path with several readings (`core.http.paths`) must match the same route in each of them; otherwise it is refused as
  ambiguous.
- Many servers ignore letter case, so each reading is also matched case-insensitively. A route that matches only then must
  require the same as the route that matches exactly, or have the same pattern apart from letter case: an operator who
  configures `/a` and `/A` has decided what each spelling needs.
- When a header asks for another method, every method that it may mean must match the same route.
- `*` alone is the target of `OPTIONS *`. It is not a path, and no other pattern matches it.
- The sidecar's own endpoints are routes too (`Access.LOCAL`, before all others), so that a path that only some servers would
  read as one of them is ambiguous as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Set
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from typing import Final, NamedTuple

from sidecar.core.http.methods import ANY
from sidecar.core.http.paths import fold, is_plain, readings
from sidecar.core.patterns import is_foreign, translated
from sidecar.core.reasons import Reason, Refused

# Characters that no reading of a path contains, or that should not decide.
_NEVER: Final = re.compile(r"[\x00-\x20\x7f?#%\\;]")
_MEMO_LIMIT: Final = 2048
_MOST_PATTERNS: Final = 4096
_LONGEST_MEMO: Final = 256


class Access(StrEnum):
    """What a route requires. `LOCAL`: the sidecar answers the request itself."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105  the name of a rule
    DENY = "deny"
    LOCAL = "local"


class InvalidPattern(ValueError):
    """A route's `path` is not a valid pattern. The message says what would be right."""


class Route(NamedTuple):
    """A route. With `methods` `None`, it applies to every method. A token needs every scope in `scope`. `outage` is as in
    `core.admission.AdmissionRules`; `None` for the value there."""

    path: str
    methods: frozenset[str] | None = None
    access: Access = Access.TOKEN
    scope: frozenset[str] = frozenset()
    outage: float | None = None


ANY_VALID_TOKEN: Final = Route("/**")


def compile_pattern(path: str) -> re.Pattern[str]:
    """Compile a pattern such as `/orders/**` or `/files/*.json`. Raises `InvalidPattern`, also for a pattern of another tool,
    which would never match."""
    _check(path)
    return _compiled(path)


def _check(path: str) -> None:
    if fault := _fault(path):
        instead = translated(path) if is_foreign(path) or (path.startswith("/") and "?" in path) else None
        raise InvalidPattern(f"{fault}: write {instead}" if instead and not _fault(instead) else fault)


def _fault(path: str) -> str | None:
    if path == "*":
        return None  # the target of OPTIONS for the server as a whole
    if is_foreign(path):
        return "is a pattern of another tool and would match nothing; here * is one segment, such as /a/*, and ** any number"
    if not path.startswith("/") or _NEVER.search(path):
        return "write a path that starts with / and has no query or encoding, such as /orders/**, or *"
    if "//" in path or any(segment in (".", "..") for segment in path.split("/")):
        return "leave out empty and dot segments"
    if path.count("**") > 1 or any(segment.replace("**", "").count("*") > 1 for segment in path.split("/")):
        # Two stars that compete for the same text would take quadratic time, or worse.
        return "use ** once, and * once in a segment"
    if any("**" in segment and segment != "**" for segment in path.split("/")):
        return "** stands alone in its segment, such as /a/**"
    return None


@lru_cache(_MOST_PATTERNS)  # a change of the configuration keeps most patterns
def _compiled(path: str) -> re.Pattern[str]:
    if path == "*":
        return re.compile(r"\*")
    expression = ""
    for segment in path.strip("/").split("/") if path != "/" else ():
        if segment == "**":
            expression += "(?:/[^/]*)*"
        elif segment == "*":
            expression += "/[^/]+"
        else:
            expression += "/" + re.escape(segment).replace(r"\*", "[^/]*")
    return re.compile(expression + "/?", re.DOTALL)


_Rule = tuple[Route, Set[str] | None, Callable[[str], object]]
"""A route, its methods, and whether its pattern matches a path."""


class _Rules:
    """The routes in order, each with its compiled pattern; `written` are the patterns as they are compared. A path is compared
    only with the routes for its first segment, because there may be thousands."""

    def __init__(self, routes: Iterable[Route], written: Iterable[str]) -> None:
        rules: list[tuple[str | None, _Rule]] = []
        for route, path in zip(routes, written, strict=True):
            rules.append((_first_segment(path), (route, route.methods, _compiled(path).fullmatch)))
        self._any: tuple[_Rule, ...] = tuple(rule for segment, rule in rules if segment is None)
        by_segment: dict[str, list[_Rule]] = {segment: [] for segment, _ in rules if segment is not None}
        for segment, rule in rules:
            for found in by_segment.values() if segment is None else (by_segment[segment],):
                found.append(rule)
        self._by_segment = {name: tuple(found) for name, found in by_segment.items()}

    def first(self, method: str, path: str) -> Route:
        """The route that decides."""
        for route, methods, fullmatch in self._by_segment.get(path[1:].partition("/")[0], self._any):
            if (methods is None or method in methods or (method == "HEAD" and "GET" in methods)) and fullmatch(path):
                return route
        return ANY_VALID_TOKEN

    def met(self, method: str, path: str) -> Iterator[Route]:
        """The routes that match, beginning with the one that decides."""
        for route, methods, fullmatch in self._by_segment.get(path[1:].partition("/")[0], self._any):
            if (methods is None or method in methods or (method == "HEAD" and "GET" in methods)) and fullmatch(path):
                yield route
        yield ANY_VALID_TOKEN


def _first_segment(path: str) -> str | None:
    """The first segment of every path that the pattern `path` matches; `None` if they differ."""
    segment = path[1:].partition("/")[0]
    return segment if segment and "*" not in segment else None


class RoutePolicy:
    """Finds the route for a method and a path. It caches results, within bounds, because paths repeat. Raises `InvalidPattern`
    for a route whose path is not a valid pattern."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        for route in self._routes:
            _check(route.path)
        self._exact = _Rules(self._routes, [route.path for route in self._routes])
        self._folded = _Rules(self._routes, [fold(route.path) for route in self._routes])
        self._capitals = any(fold(route.path) != route.path for route in self._routes)
        self._memo: dict[tuple[str, str], Route] = {}
        named = {method for route in self._routes for method in route.methods or ()}
        self._told_apart = frozenset([*named, "HEAD", ANY])  # `ANY` represents every other method

    def __repr__(self) -> str:
        return f"<RoutePolicy {len(self._routes)} routes>"

    def decide(self, method: str, path: str) -> Route:
        """The route for a path as it was sent. Raises `Refused(AMBIGUOUS_PATH)` when its readings match different routes."""
        if is_plain(path) and not self._capitals and path.islower():
            return self._exact.first(method, path)  # its only reading, in any letter case
        route = self._memo.get((method, path))
        if route is None:
            route = self._decide(method, path)
            if len(path) <= _LONGEST_MEMO:
                if len(self._memo) >= _MEMO_LIMIT:
                    self._memo.clear()  # random paths: start again instead of growing
                self._memo[method, path] = route
        return route

    def decides_alike(self, method: str, others: Set[str], path: str) -> bool:
        """Whether `method` and each method of `others` match the same route; `ANY` means every method. Raises
        `Refused(AMBIGUOUS_PATH)` as `decide` does."""
        meant = self._told_apart if ANY in others else {each if each in self._told_apart else ANY for each in others}
        decided = self.decide(method, path)
        return all(self.decide(each, path) == decided for each in meant)

    def _decide(self, method: str, path: str) -> Route:
        route = None
        for reading in readings(path):
            met = self._exact.first(method, reading)
            if route not in (None, met) or not self._holds_in_any_case(met, method, reading):
                raise Refused(Reason.AMBIGUOUS_PATH)
            route = met
        return route or ANY_VALID_TOKEN

    def _holds_in_any_case(self, route: Route, method: str, reading: str) -> bool:
        """Whether `route` is also right for a server that ignores letter case, by rules coarser or finer than those of `fold`.

        For such a server, the matching route is `route`, or an earlier one that matches after `fold`.
        """
        folded = fold(reading)
        if folded == reading and not self._capitals:
            return True  # the match would be the same
        before = takewhile(lambda met: met is not route, self._folded.met(method, folded))
        return all(_agree(route, met) for met in before)


def _agree(exact: Route, folded: Route) -> bool:
    if fold(exact.path) == fold(folded.path):
        return True
    same = exact.scope == folded.scope and exact.outage == folded.outage
    return same and exact.access is folded.access is not Access.LOCAL
