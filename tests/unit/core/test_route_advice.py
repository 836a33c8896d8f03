"""core.route_advice: what is allowed and surely not meant, and what is fine and must stay unmentioned."""

import pytest

from sidecar.core.policy import Access, Route, RoutePolicy
from sidecar.core.route_advice import remarks

ALL = Route("/**", access=Access.PUBLIC)


def deny(path: str, *methods: str) -> Route:
    return Route(path, frozenset(methods) or None, Access.DENY)


def public(path: str, *methods: str) -> Route:
    return Route(path, frozenset(methods) or None, Access.PUBLIC)


def scoped(path: str, scope: str, *methods: str) -> Route:
    return Route(path, frozenset(methods) or None, Access.TOKEN, frozenset(scope.split()))


TWIN = (
    "differs from routes[0].path in letter case alone, and asks for something else: a server that ignores letter case gives the "
    "same page for both"
)
LEFT = "holds for one segment: what is below is left to"
ODD: dict[str, tuple[list[Route], list[tuple[int, str]]]] = {
    "a star that ends at a slash": (
        [deny("/admin*"), ALL], [(0, f"{LEFT} routes[1] (public); write /admin/** as well, or instead")],
    ),
    "with any token below": ([deny("/admin*")], [(0, f"{LEFT} any valid token; write /admin/** as well, or instead")]),
    "a scope": ([scoped("/admin*", "a")], [(0, f"{LEFT} any valid token; write /admin/** as well, or instead")]),
    "another scope below": (
        [scoped("/admin*", "a b"), scoped("/**", "b")], [(0, f"{LEFT} routes[1] (token); write /admin/** as well, or instead")],
    ),
    "a token": ([Route("/admin*"), ALL], [(0, f"{LEFT} routes[1] (public); write /admin/** as well, or instead")]),
    "one method": ([deny("/admin*", "POST"), ALL], [(0, f"{LEFT} routes[1] (public); write /admin/** as well, or instead")]),
    "below something": ([deny("/a/b-*"), ALL], [(0, f"{LEFT} routes[1] (public); write /a/b-/** as well, or instead")]),
    "one segment closed": ([deny("/admin/*"), ALL], [(0, f"{LEFT} routes[1] (public); write /admin/**")]),
    "a path alone closed": ([deny("/admin"), ALL], [(0, f"{LEFT} routes[1] (public); write /admin/**")]),
    "a name anywhere": ([deny("/**/.git"), ALL], [(0, f"{LEFT} routes[1] (public)")]),
    "shadowed by the same": ([public("/a"), deny("/a/")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed by all": ([ALL, deny("/a/**")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed by what is above": ([scoped("/a/**", "x"), deny("/a/b/**")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed itself": ([scoped("/a/**", "x"), deny("/a")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed by a star": ([scoped("/a/*", "x"), public("/a/new")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed star by star": ([scoped("/f/*", "x"), public("/f/*.json")], [(1, "never decides: routes[0] stands before it and holds for all of it")]),
    "shadowed methods": (
        [scoped("/a", "x", "GET", "POST"), scoped("/a", "y", "GET", "HEAD")],
        [(1, "never decides: routes[0] stands before it and holds for all of it")],
    ),
    "twins": (
        [public("/a/**"), deny("/A/**")],
        [(1, TWIN)],
    ),
    "a regular expression": ([deny("/a/.*"), ALL], [(0, ".* is no regular expression here and means a name that begins so; write /a/** for all")]),
    "a catch-all": ([public("/a/*path")], [(0, "means one segment that ends so; write /a/** for all that is below")]),
    "an anchor": ([public("/a$")], [(0, "means a path that ends in $, which is no anchor here; write /a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_it_is_remarked_upon(name: str) -> None:
    routes, expected = ODD[name]
    found = [tuple(remark) for remark in remarks(routes)]
    assert [remark for remark in found if remark in expected] == expected, found


FINE: dict[str, list[Route]] = {
    "no route": [],
    "the first steps": [public("/health"), scoped("/orders/**", "orders:read", "GET")],
    "a closed part": [deny("/internal/**"), ALL],
    "both": [deny("/admin*"), deny("/admin/**"), ALL],
    "a rule of its own below": [deny("/admin"), scoped("/admin/**", "admin")],
    "all closed below": [deny("/admin*"), deny("/**")],
    "more is asked for below": [scoped("/admin*", "a"), scoped("/**", "a b")],
    "an item and its list": [scoped("/orders", "orders:write", "POST"), scoped("/orders/*", "orders:read", "GET")],
    "the root alone": [deny("/"), ALL],
    "by its ending": [deny("/*.php"), deny("/**/*.php"), ALL],
    "narrow first": [public("/a/new"), scoped("/a/*", "x"), deny("/a/**")],
    "narrow methods first": [scoped("/a/**", "r", "GET"), scoped("/a/**", "w")],
    "two methods": [scoped("/a/**", "r", "GET"), scoped("/a/**", "w", "POST", "GET")],
    "one star and many": [scoped("/*", "x"), public("/**")],
    "another ending": [public("/f/*.json"), scoped("/f/*", "x")],
    "a middle": [public("/a/**/z"), deny("/a/**")],
    "the options of all": [ALL, public("*", "OPTIONS")],
    "twins that ask for the same": [deny("/admin/**"), deny("/Admin/**"), ALL],
    "hidden names": [public("/a/.well-known/**")],
    "a verb": [scoped("/things/*:cancel", "x"), public("/Orders(*)")],
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_it_is_not(name: str) -> None:
    assert remarks(FINE[name]) == []


@pytest.mark.parametrize("name", [name for name in ODD if name.startswith("shadowed")])
def test_what_never_decides_does_not(name: str) -> None:
    routes, _ = ODD[name]
    for path in ("/a", "/a/", "/a/b", "/a/b/c", "/a/new", "/f/x.json", "/f/.json"):
        for method in ("GET", "HEAD", "POST"):
            assert RoutePolicy(routes).decide(method, path) is not routes[1]
