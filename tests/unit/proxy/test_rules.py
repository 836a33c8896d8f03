"""proxy.rules: a value that is never changed, with caches that go when it goes."""

import dataclasses

import pytest

from tests.support.decided import rules


def test_rules_are_never_changed() -> None:
    made = rules()
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)


def test_what_was_found_out_by_rules_is_theirs() -> None:
    one, two = rules(), rules()
    assert one.heads is not two.heads
    assert one.cache is not two.cache


def test_challenges_name_the_issuer() -> None:
    assert rules().realm == "https://issuer"
    assert repr(rules(generation=7)) == "<RequestRules 7>"
