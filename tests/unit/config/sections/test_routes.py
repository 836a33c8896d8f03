"""The section `routes`."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.core import policy
from tests.support.settings import assert_refused, changed, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a pattern without slash": (changed(routes=[{"path": "orders"}]), "routes[0].path: "),
    "a pattern with two stars that compete": (changed(routes=[{"path": "/**/a/**"}]), "routes[0].path: use ** once"),
    "a segment with two stars": (changed(routes=[{"path": "/*a*"}]), "routes[0].path: use ** once, and * once"),
    "an ambiguous pattern": (changed(routes=[{"path": "/a/../b"}]), "routes[0].path: "),
    "a method in small letters": (changed(routes=[{"path": "/", "methods": ["get"]}]), "routes[0].methods: write methods"),
    "no method": (changed(routes=[{"path": "/", "methods": []}]), "routes[0].methods: name at least one"),
    "an unknown access": (changed(routes=[{"path": "/", "access": "open"}]), "routes[0].access: must be one of 'public'"),
    "a scope on a public route": (
        changed(routes=[{"path": "/", "access": "public", "scope": "a"}]), "routes[0]: scope has no meaning",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


def test_a_route_is_a_rule(file: Path) -> None:
    given = [
        {"path": "/health", "access": "public"},
        {"path": "/orders/**", "methods": ["GET", "HEAD"], "scope": "orders:read"},
        {"path": "/**", "access": "deny"},
    ]
    assert [route.rule for route in settings_of(file, changed(routes=given)).routes] == [
        policy.Route("/health", None, policy.Access.PUBLIC, frozenset()),
        policy.Route("/orders/**", frozenset(["GET", "HEAD"]), policy.Access.TOKEN, frozenset(["orders:read"])),
        policy.Route("/**", None, policy.Access.DENY, frozenset()),
    ]
