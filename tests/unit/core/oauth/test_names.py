"""What may stand in identifiers, scopes, roles and names for display."""

import pytest

from sidecar.core.oauth.names import display_name_fault, identifier_fault, role_fault, scope_fault, token_fault


@pytest.mark.parametrize("text", ["c", "a b", "https://client.example/?a=1", '~!"#'])
def test_identifiers(text: str) -> None:
    assert identifier_fault(text) is None


@pytest.mark.parametrize("text", ["", " a", "a ", "a\nb", "a\n", "é", "a\x7f"])
def test_what_is_no_identifier(text: str) -> None:
    assert "printable ASCII" in (identifier_fault(text) or "")


@pytest.mark.parametrize("scope", ["", "a", "orders:read orders:write", " a  b "])
def test_scopes(scope: str) -> None:
    assert scope_fault(scope) is None


@pytest.mark.parametrize("scope", ['a"', "a\\b", "é", "a \x01", ["a"], 5, None, b"a"])
def test_what_is_no_scope(scope: object) -> None:
    assert "one string separated by spaces" in (scope_fault(scope) or "")


@pytest.mark.parametrize("text", ["", "a b", 'a"', "a\n", "é"])
def test_what_is_no_token(text: str) -> None:
    assert token_fault(text)
    assert token_fault("a:{b}~") is None


def test_a_role_has_no_comma() -> None:
    assert role_fault("analyst") is None
    assert "comma" in (role_fault("a,b") or "")


@pytest.mark.parametrize("text", ["a\nb", " a", "a\u200f", "\x00"])
def test_what_is_no_name_for_display(text: str) -> None:
    assert "consent page" in (display_name_fault(text) or "")
    assert display_name_fault("Bestellungen für Köln") is None
