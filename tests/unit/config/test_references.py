"""Texts of the configuration that stand for a value: which are faults, and which are read as they are."""

from typing import Any

import pytest

from sidecar.config.references import placeholder_faults

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a secret": ({"clients": [{"client_secret": "changeme"}]}, "clients[0].client_secret"),
    "a key": ({"tokens": {"signing_keys": [{}, {"secret": "{{ secret }}"}]}}, "tokens.signing_keys[1].secret"),
    "an encoded one": ({"users": [{"password_hash": "$HASH"}]}, "users[0].password_hash"),
    "a list": ({"clients": [{"client_secret_hashes": ["x", "<hash>"]}]}, "clients[0].client_secret_hashes[1]"),
    "any text": ({"tokens": {"issuer": "https://{{ host }}"}}, "tokens.issuer"),
    "a Secret of Kubernetes": (
        {"clients": [{"client_secret": {"valueFrom": {}}}]}, "clients[0].client_secret",
    ),
    "a password in an address": ({"store": {"url": "redis://:%24REDIS_PASSWORD@h"}}, "store.url"),
    "a password as an option": ({"store": {"url": "redis://h?password=$REDIS_PASSWORD"}}, "store.url"),
    "an empty password": ({"store": {"url": "redis://:@h"}}, "store.url"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_what_stands_for_a_value_is_a_fault_at_its_path(case: str) -> None:
    document, path = FAULTS[case]
    (fault,) = placeholder_faults(document)
    assert fault.path == path


@pytest.mark.parametrize(
    "document",
    [
        {"routes": [{"path": "/a/{id}"}]},
        {"store": {"url": "redis://:p$x@h"}},
        {"store": {"url": "redis://[h"}},
        {"clients": [{"client_secret": "p$x{y}%z"}], "tokens": {"leeway": 5}},
    ],
)
def test_what_is_judged_elsewhere_or_may_be_meant_is_none(document: dict[str, Any]) -> None:
    assert placeholder_faults(document) == []
