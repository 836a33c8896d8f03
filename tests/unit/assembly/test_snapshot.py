"""assembly.snapshot and assembly.endpoints: one generation of rules, from the settings."""

from dataclasses import astuple
from typing import Any

import pytest

from sidecar.assembly.living import Living
from sidecar.assembly.snapshot import request_rules
from sidecar.config.settings import Settings
from sidecar.core.oauth import endpoint_paths
from sidecar.core.policy import Access
from sidecar.proxy.rules import RequestRules
from tests.support.process import configuration


def rules(
    parts: Living, upstream: Any = "http://api.internal:81", generation: int = 3, **sections: Any
) -> RequestRules:
    return request_rules(Settings.model_validate(configuration(upstream, **sections)), parts, generation)


def test_our_endpoints_come_before_every_route(parts: Living) -> None:
    made = rules(parts, routes=[{"path": "/**", "access": "deny"}])
    assert made.policy.decide("POST", endpoint_paths.TOKEN).access is Access.LOCAL
    assert made.policy.decide("GET", "/orders").access is Access.DENY


def test_a_generation_has_caches_of_its_own_and_counts_with_the_others(parts: Living) -> None:
    one, two = rules(parts), rules(parts, generation=4)
    assert one.cache is not two.cache
    assert one.heads is not two.heads
    assert one.cache.lookups is two.cache.lookups
    assert (repr(one), repr(two)) == ("<RequestRules 3>", "<RequestRules 4>")


@pytest.mark.parametrize(
    ("host", "default", "instead"),
    [
        ("keep", b"api.internal:81", None),
        ("upstream", b"api.internal:81", b"\0"),
        ("other", b"api.internal:81", b"other"),
    ],
)
def test_the_host_for_the_api(parts: Living, host: str, default: bytes, instead: bytes | None) -> None:
    assert rules(parts, {"url": "http://api.internal:81", "host": host}).host == (default, instead)


def test_where_tokens_are_looked_for(parts: Living) -> None:
    assert rules(parts).credentials.any_header
    made = rules(parts, credentials={"places": ["bearer", "query"], "body_limit": "1KiB"}).credentials
    assert astuple(made) == ({"bearer", "query"}, 1024, False)


def test_a_fault_in_the_settings_is_raised_before_anything_is_built(parts: Living) -> None:
    settings = Settings.model_validate(configuration("http://127.0.0.1:1"))
    broken = settings.model_copy(update={"tokens": settings.tokens.model_copy(update={"signing_keys": ()})})
    with pytest.raises(ValueError, match="no key can sign"):
        request_rules(broken, parts, 1)
