"""Which fields a route may have: told to any caller."""

import pytest

from sidecar.core.route_rules import methods_fault, path_fault, scope_fault


@pytest.mark.parametrize("path", ["/", "/a/**", "/files/*.json", "*"])
def test_a_pattern_has_no_fault(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    ("path", "begins"),
    [("a", "write a path"), ("/a//b", "leave out"), ("/**/a/**", "use ** once"), ("/a/{id}", "is a pattern of")],
)
def test_what_is_no_pattern_is_told_what_is_right(path: str, begins: str) -> None:
    assert (path_fault(path) or "").startswith(begins)


def test_methods_are_capitals_and_at_least_one() -> None:
    assert methods_fault(["GET", "M-SEARCH"]) is None
    assert methods_fault([]) == "name at least one"
    for methods in (["get"], ["GET", ""], ["GET\n"], ["GÉT"]):
        assert methods_fault(methods) == "write methods in capitals, such as [GET, POST]"


@pytest.mark.parametrize("access", ["public", "deny", "local", "unknown"])
def test_a_scope_is_for_routes_that_need_a_token(access: str) -> None:
    assert scope_fault("token", ["a"]) is None
    assert scope_fault(access, []) is None
    assert scope_fault(access, ["a"]) == f"scope has no meaning with access: {access}"
