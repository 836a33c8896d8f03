"""assembly.keys: keys and token rules, from the settings."""

from dataclasses import astuple
from typing import Any

import pytest

from sidecar.assembly.keys import admission_rules, key_ring, successor_keys, token_rules
from sidecar.config.settings import Settings
from sidecar.core.jose.keys import InvalidKey
from tests.support.keys import PEMS
from tests.support.process import configuration

HS: dict[str, Any] = {"kid": "hs", "alg": "HS256", "secret": "k" * 32}
ES: dict[str, Any] = {"kid": "es", "alg": "ES256", "private_key": PEMS["ES256"]}


def settings(*keys: dict[str, Any], **tokens: Any) -> Settings:
    said = {"issuer": "https://issuer", "audience": "api", "signing_keys": list(keys), **tokens}
    return Settings.model_validate(configuration("http://127.0.0.1:1", tokens=said))


def test_the_ring_has_the_keys_in_their_order() -> None:
    assert [(key.kid, key.alg) for key in key_ring(settings(ES, HS).tokens)] == [("es", "ES256"), ("hs", "HS256")]
    assert key_ring(settings(ES, HS).tokens).signer(0).kid == "es"


def test_a_window_is_taken_over() -> None:
    ring = key_ring(settings({**HS, "not_after": "2026-01-01"}, ES).tokens)
    assert [ring.signer(now).kid for now in (1_700_000_000, 1_800_000_000)] == ["hs", "es"]


def test_no_key_that_can_sign_is_a_fault() -> None:
    with pytest.raises(InvalidKey):
        key_ring(settings(HS).tokens.model_copy(update={"signing_keys": ()}))


def test_the_rules_issue_and_verify_as_configured() -> None:
    rules = token_rules(settings(HS, access_token_ttl="10m").tokens, tapdata=False)
    text, token = rules.issue(client_id="a", subject="a", roles=(), scope=(), now=100, jti="j")
    assert (token.exp, token.kid) == (700, "hs")
    assert rules.verify(text, 100) == token


def test_there_is_a_key_of_refresh_tokens_for_each_that_is_not_public() -> None:
    keys = successor_keys(settings(HS, ES).tokens)
    assert len(set(keys)) == 2
    assert all(len(key) == 32 for key in keys)
    assert successor_keys(settings(HS).tokens) == keys[:1]


def test_the_admission_rule_gets_leeway_keys_and_disabled_clients() -> None:
    said = settings(HS, ES, leeway="5s")
    said = said.model_copy(update={"clients": (said.clients[0].model_copy(update={"disabled": True}), said.clients[1])})
    assert astuple(admission_rules(said, key_ring(said.tokens))) == (5.0, {"hs", "es"}, {"reporting"}, 0.0)
