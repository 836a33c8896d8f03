"""How a fault of the configuration reads."""

import pytest

from sidecar.config.faults import Fault, with_name

NAMES = {"clients": ["reporting", None], "tokens.signing_keys": ["k1"]}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("clients[0].scope", "clients[0].scope: text (reporting)"),
        ("clients[1].scope", "clients[1].scope: text"),
        ("clients[2].scope", "clients[2].scope: text"),
        ("tokens.signing_keys[0].secret", "tokens.signing_keys[0].secret: text (k1)"),
        ("tokensXsigning_keys[0].secret", "tokensXsigning_keys[0].secret: text"),
        ("users[0].username", "users[0].username: text"),
        ("clients", "clients: text"),
        ("", "text"),
    ],
)
def test_a_fault_names_the_entry_that_it_is_about(path: str, named: str) -> None:
    assert str(with_name(Fault(path, "text"), NAMES)) == named
