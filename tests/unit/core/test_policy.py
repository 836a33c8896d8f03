"""core.policy: which rule holds."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.methods import ANY
from sidecar.core.http.paths import readings
from sidecar.core.policy import ANY_VALID_TOKEN, Access, InvalidPattern, Route, RoutePolicy, compile_pattern
from sidecar.core.reasons import Reason, Refused

MATCHES = [
    ("/", ["/"], ["/a"]),
    ("/health", ["/health", "/health/"], ["/healthy", "/health/x", "/x/health", "//health"]),
    ("/a/*", ["/a/b", "/a/b/"], ["/a", "/a/", "/a/b/c", "/a//b"]),
    ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c"], ["/ab", "/b/a"]),
    ("/**", ["/", "/a", "/a/b"], []),
    ("/f/*.json", ["/f/x.json", "/f/.json"], ["/f/x.jsonp", "/f/d/x.json"]),
    ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z"], ["/a/b"]),
    ("/a.b", ["/a.b"], ["/axb"]),
]
BAD_PATTERNS = ["", "a", "/a?b", "/a#", "/a%20", "/a/../b", "/./a", "//a", "/a**", "/a;b", "/a b", "/a\\b"]


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES)
def test_pattern(pattern: str, yes: list[str], no: list[str]) -> None:
    expression = compile_pattern(pattern)
    assert [path for path in yes if not expression.fullmatch(path)] == []
    assert [path for path in no if expression.fullmatch(path)] == []


def test_the_asterisk_of_options_has_a_pattern_of_its_own() -> None:
    star, rest = Route("*", access=Access.PUBLIC), Route("/**", access=Access.DENY)
    policy = RoutePolicy([star, rest])
    assert policy.decide("OPTIONS", "*") is star
    assert policy.decide("OPTIONS", "/*") is rest
    assert RoutePolicy([rest]).decide("OPTIONS", "*") is ANY_VALID_TOKEN


@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_pattern_is_invalid(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(pattern)


PUBLIC = Route("/public/**", access=Access.PUBLIC)
READ = Route("/orders/**", frozenset(["GET"]), scope=frozenset(["orders:read"]))
CLOSED = Route("/orders/secret", access=Access.DENY)
LOCAL = Route("/oauth/token", access=Access.LOCAL)
POLICY = [LOCAL, PUBLIC, READ, CLOSED]


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/public/x", PUBLIC),
        ("GET", "/orders/1", READ),
        ("HEAD", "/orders/1", READ),
        ("POST", "/orders/1", ANY_VALID_TOKEN),
        ("POST", "/orders/secret", CLOSED),
        ("GET", "/orders/secret", READ),
        ("GET", "/other", ANY_VALID_TOKEN),
        ("POST", "/%6fauth/token", LOCAL),
        ("GET", "//other", ANY_VALID_TOKEN),
        ("OPTIONS", "*", ANY_VALID_TOKEN),
    ],
)
def test_first_match_decides(method: str, path: str, route: Route) -> None:
    policy = RoutePolicy(POLICY)
    assert policy.decide(method, path) is route
    assert policy.decide(method, path) is route  # remembered


@pytest.mark.parametrize(
    "path",
    [
        "/Public/x",
        "//public/x",
        "/public;x/y",
        "/public%2fx",
        "/oauth%2ftoken",
        "//oauth/token",
        "/oauth/token;x",
        "/%2570ublic/x",
    ],
)
def test_a_path_that_servers_read_as_different_rules_is_ambiguous(path: str) -> None:
    with pytest.raises(Refused) as refused:
        RoutePolicy(POLICY).decide("GET", path)
    assert refused.value.reason is Reason.AMBIGUOUS_PATH


LOWER, UPPER = Route("/a/**", access=Access.PUBLIC), Route("/A/**", access=Access.DENY)
REST = Route("/**", scope=frozenset("r"))
CAPITAL = Route("/Reports/**", access=Access.DENY)


@pytest.mark.parametrize(
    ("routes", "path", "route"),
    [
        ([CAPITAL, REST], "/Reports/x", CAPITAL),
        ([CAPITAL, REST], "/other/X", REST),
        ([CAPITAL, Route("/**", access=Access.DENY)], "/reports/X", Route("/**", access=Access.DENY)),
        ([Route("/orders/**")], "/Orders", ANY_VALID_TOKEN),
        ([LOWER, UPPER, REST], "/a/x", LOWER),
        ([LOWER, UPPER, REST], "/A/x", UPPER),
        ([UPPER, LOWER, REST], "/a/X", LOWER),
        ([Route("/\xe9/**", access=Access.DENY), REST], "/%C3%A9/X", Route("/\xe9/**", access=Access.DENY)),
    ],
)
def test_a_rule_holds_for_its_own_spelling(routes: list[Route], path: str, route: Route) -> None:
    assert RoutePolicy(routes).decide("GET", path) == route


@pytest.mark.parametrize(
    ("routes", "path"),
    [
        ([CAPITAL, REST], "/reports/x"),
        ([CAPITAL, REST], "/REPORTS/x"),
        ([LOCAL], "/OAUTH/TOKEN"),
        ([LOCAL], "/oauth/Token/"),
        ([LOWER, Route("/A/x"), REST], "/A/x"),
        ([Route("/orders/**", scope=frozenset("r"))], "/Orders"),
        ([Route("/orders/**", scope=frozenset("r")), Route("/**", scope=frozenset("w"))], "/Orders"),
        ([Route("/f/*.json", access=Access.PUBLIC)], "/f/x.JSON"),
        # The Kelvin sign; and a rule between two that agree, which a server may meet that folds less than we do.
        ([Route("/k", access=Access.DENY), REST], "/%E2%84%AA"),
        ([Route("/\u0131n", access=Access.PUBLIC), Route("/IN", access=Access.DENY), Route("/**", access=Access.PUBLIC)], "/in"),
    ],
)  # fmt: skip
def test_a_path_that_meets_another_rule_in_another_letter_case_is_ambiguous(routes: list[Route], path: str) -> None:
    with pytest.raises(Refused) as refused:
        RoutePolicy(routes).decide("GET", path)
    assert refused.value.reason is Reason.AMBIGUOUS_PATH


@given(st.text(st.sampled_from("/aAbB%cC3é\u212akK"), max_size=12))
def test_what_passes_would_meet_the_same_rule_in_any_letter_case(tail: str) -> None:
    """With rules in small letters: whatever the server does to letters, it is asked for what was decided."""
    rules = [
        Route("/a/**", access=Access.DENY),
        Route("/b/k", access=Access.PUBLIC),
        Route("/*/a", scope=frozenset("r")),
    ]
    policy, path = RoutePolicy(rules), "/" + quote(tail, safe="/%")
    try:
        route = policy.decide("GET", path)
    except Refused:
        return
    for spelling in (str.lower, str.upper, str.swapcase):
        other = quote(spelling(unquote(path)).lower())
        assert policy.decide("GET", other) == route, other


ALIKE = [
    ("POST", {"PATCH"}, "/orders/1", True),
    ("POST", {"GET"}, "/orders/1", False),
    ("GET", {"POST"}, "/orders/1", False),
    ("GET", {"GET"}, "/orders/1", True),
    ("GET", {"HEAD"}, "/orders/1", True),
    ("HEAD", {"GET"}, "/orders/1", True),
    ("GET", {"GET", "X"}, "/orders/1", False),
    ("POST", set(), "/orders/1", True),
    ("POST", {ANY}, "/orders/1", False),
    ("GET", {ANY}, "/orders/1", False),
    ("PROPFIND", {ANY}, "/orders/1", False),
    ("PROPFIND", {"REPORT"}, "/orders/1", True),
    ("GET", {ANY, "DELETE"}, "/public/1", True),
    ("POST", {ANY}, "/other", True),
    ("POST", {ANY, "GET"}, "/oauth/token", True),
]


@pytest.mark.parametrize(("method", "others", "path", "alike"), ALIKE)
def test_a_request_is_decided_alike_whatever_it_is_taken_for(
    method: str, others: set[str], path: str, *, alike: bool
) -> None:
    assert RoutePolicy(POLICY).decides_alike(method, others, path) is alike


def test_a_path_whose_readings_differ_for_the_other_method_is_ambiguous() -> None:
    policy = RoutePolicy([Route("/a/**", frozenset(["DELETE"]), Access.DENY)])
    assert policy.decides_alike("GET", {"PUT"}, "//a/b")
    with pytest.raises(Refused) as refused:
        policy.decides_alike("GET", {"DELETE"}, "//a/b")
    assert refused.value.reason is Reason.AMBIGUOUS_PATH


def test_methods_that_somebody_makes_up_fill_no_memory() -> None:
    policy = RoutePolicy(POLICY)
    for number in range(5000):
        assert policy.decides_alike("POST", {f"M{number}", "X" * 30_000}, "/orders/1")
    assert len(policy._memo) <= 3


def test_walking_paths_fills_no_memory() -> None:
    """Neither with many paths nor with long ones, which are matched all the same."""
    policy = RoutePolicy([Route("/a/**", access=Access.DENY)])
    for number in range(5000):
        policy.decide("GET", f"/x/{number}")
        policy.decide("GET", f"/X/{number}")  # has more than one reading
    assert policy.decide("GET", "/a/" + "B" * 8000).access is Access.DENY
    assert 0 < len(policy._memo) <= 2048
    assert max(len(path) for _, path in policy._memo) <= 256


SEGMENTS = ["a", "b", "A", "*", "a*", "*b", "x.y"]
PATTERNS = st.lists(st.sampled_from(SEGMENTS), max_size=3).map(lambda parts: "/" + "/".join(parts)) | st.sampled_from(
    ["/**", "/a/**", "/**/b", "/a/**/b", "*"]
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "A", "x.y", "xzy", "", "%61", "b;c"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def one_by_one(routes: list[Route], method: str, path: str) -> Route:
    """The first route that matches, compared in order; for a path with one reading."""
    for route in routes:
        named = route.methods is None or method in route.methods or (method == "HEAD" and "GET" in route.methods)
        if named and compile_pattern(route.path).fullmatch(path):
            return route
    return ANY_VALID_TOKEN


@given(
    st.lists(st.tuples(PATTERNS, st.sampled_from([None, frozenset({"GET"}), frozenset({"HEAD", "POST"})])), max_size=6),
    st.sampled_from(["GET", "HEAD", "POST"]),
    PATHS,
)
def test_the_first_route_decides_wherever_it_stands(
    written: list[tuple[str, frozenset[str] | None]], method: str, path: str
) -> None:
    """Whether routes are looked up by their first segment or compared in order."""
    routes = [Route(pattern, methods, scope=frozenset({str(n)})) for n, (pattern, methods) in enumerate(written)]
    policy = RoutePolicy(routes)
    plain = (
        readings(path) == (path,) and path == path.lower() and all(each.path == each.path.lower() for each in routes)
    )
    try:
        decided: Route | None = policy.decide(method, path)
    except Refused:
        decided = None
    if plain or (decided is not None and readings(path) == (path,)):
        assert decided == one_by_one(routes, method, path)
