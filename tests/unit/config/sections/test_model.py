"""Sections whose fields depend on each other: where their faults show, and that no order of fields matters."""

import itertools
from collections.abc import Iterable, Mapping, Set
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError, create_model

from sidecar.config.sections.clients import Client
from sidecar.config.sections.model import RuledModel
from sidecar.config.sections.signing_keys import SigningKey
from sidecar.core.faults import FieldFault

CANARY = "canary-" * 2
KEY = {"kid": "1", "alg": "HS512", "secret": CANARY}
PUBLIC = {
    "client_id": "c",
    "token_endpoint_auth_method": "none",
    "client_secret": CANARY,
    "redirect_uris": ["https://a/"] * 2,
}


class Pair(RuledModel):
    """Two numbers that differ, the first of them even."""

    a: int
    b: int = 1

    @classmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        if "a" in plain and plain["a"] % 2:
            yield FieldFault("a", "must be even")
        if plain.get("a") == plain.get("b", 1):
            yield FieldFault(None, "must differ")


def faults(model: type[RuledModel], given: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": 3}, ["a"]),
        ({"a": 3, "b": "x"}, ["a", "b"]),
        ({"b": "x", "a": 3, "c": 1}, ["a", "b", "c"]),
        ({"a": 1}, ["", "a"]),
        ({"a": 1, "c": 1}, ["a", "c"]),
        ({"a": "x", "b": "x"}, ["a", "b"]),
        ({}, ["a"]),
        ("x", [""]),
    ],
)
def test_faults_between_fields_show_beside_those_of_fields(given: object, expected: list[str]) -> None:
    """In the order of the fields; that fields do not fit is only said when all are well formed."""
    assert sorted(path for path, _ in faults(Pair, given)) == expected
    assert [path for path, _ in faults(Pair, given) if path] == [path for path in expected if path]


def test_a_model_is_not_checked_again() -> None:
    pair = Pair(a=2)
    assert Pair.model_validate(pair) is pair


def reordered(model: type[RuledModel], names: Iterable[str]) -> type[RuledModel]:
    """The model with its fields in another order."""
    bare = type("Bare", (RuledModel,), {"_rules": model.__dict__["_rules"]})
    fields: dict[str, Any] = {
        name: (model.model_fields[name].rebuild_annotation(), model.model_fields[name]) for name in names
    }
    return create_model("Reordered", __base__=bare, **fields)


@pytest.mark.parametrize(
    ("model", "given", "moved", "expected"),
    [
        (SigningKey, KEY, ["alg", "secret", "kid"], {"secret"}),
        (SigningKey, {**KEY, "kid": 5}, ["alg", "secret", "kid"], {"secret", "kid"}),
        (SigningKey, {"kid": "1", "alg": "ES256", "private_key": CANARY}, ["alg", "private_key"], {"private_key"}),
        (SigningKey, {"kid": "1", "alg": "ES256", "public_key": CANARY}, ["alg", "public_key"], {"public_key"}),
        (
            Client,
            PUBLIC,
            ["client_secret", "token_endpoint_auth_method", "redirect_uris"],
            {"token_endpoint_auth_method", "redirect_uris"},
        ),
        (
            Client,
            {**PUBLIC, "grant_types": ["implicit"], "redirect_uris": []},
            ["grant_types", "redirect_uris", "token_endpoint_auth_method"],
            {"token_endpoint_auth_method", "redirect_uris"},
        ),
        (
            Client,
            {"client_id": "c", "token_endpoint_auth_method": "none", "grant_types": [], "introspect": True},
            ["introspect", "token_endpoint_auth_method", "client_secret"],
            {"introspect"},
        ),
    ],
)
def test_no_fault_depends_on_the_order_of_fields(
    model: type[RuledModel], given: dict[str, Any], moved: list[str], expected: set[str]
) -> None:
    rest = [name for name in model.model_fields if name not in moved]
    for order in itertools.permutations(moved):
        for names in ([*order, *rest], [*rest, *order]):
            found = faults(reordered(model, names), given)
            assert {path for path, _ in found} == expected
            assert "canary" not in str([message for _, message in found])


def test_a_secret_is_looked_at_in_a_model_made_by_code_too() -> None:
    with pytest.raises(ValidationError, match="at least 64 bytes") as caught:
        SigningKey(kid="1", alg="HS512", secret=SecretStr(CANARY))
    assert "canary" not in str(caught.value)
