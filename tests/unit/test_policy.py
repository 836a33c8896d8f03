"""core.policy: which rule holds."""

import pytest

from sidecar.core.methods import ANY
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
        ("GET", "/Public/x", ANY_VALID_TOKEN),
        ("OPTIONS", "*", ANY_VALID_TOKEN),
    ],
)
def test_first_match_decides(method: str, path: str, route: Route) -> None:
    policy = RoutePolicy(POLICY)
    assert policy.decide(method, path) is route
    assert policy.decide(method, path) is route  # remembered


@pytest.mark.parametrize(
    "path",
    ["//public/x", "/public;x/y", "/public%2fx", "/oauth%2ftoken", "//oauth/token", "/oauth/token;x", "/%2570ublic/x"],
)
def test_a_path_that_servers_read_as_different_rules_is_ambiguous(path: str) -> None:
    with pytest.raises(Refused) as refused:
        RoutePolicy(POLICY).decide("GET", path)
    assert refused.value.reason is Reason.AMBIGUOUS_PATH


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
    assert policy.decide("GET", "/a/" + "b" * 8000).access is Access.DENY
    assert len(policy._memo) <= 2048
    assert max(len(path) for _, path in policy._memo) <= 256
