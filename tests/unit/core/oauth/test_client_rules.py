"""Which fields of a client fit together: told to any caller, with no configuration file in sight."""

from typing import Any

import pytest

from sidecar.core.oauth.client_rules import Registration, client_faults

CANARY = "canary"
LONG = "canary-" * 5
METHOD = "token_endpoint_auth_method"
HASHES = ("h1", "h2")
FAULTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "nothing": ({}, None, "give exactly one of client_secret, client_secret_hash and client_secret_hashes; or a public_key"),
    "two secrets": ({"client_secret": CANARY, "client_secret_hash": "h"}, None, "give exactly one of client_secret,"),
    "a public secret": ({METHOD: "none", "client_secret": CANARY}, METHOD, "a public client (none) has no client_secret"),
    "a public key": ({METHOD: "none", "jwks": {}}, METHOD, "a public client (none) has no jwks"),
    "a public client for itself": ({METHOD: "none"}, METHOD, "a public client (none) proves nothing"),
    "a public client that asks": ({METHOD: "none", "grant_types": [], "introspect": True}, "introspect", "a public client may"),
    "no key": ({METHOD: "private_key_jwt", "client_secret": CANARY}, METHOD, "private_key_jwt needs the client's public_key"),
    "a key and a secret": (
        {METHOD: "private_key_jwt", "public_key": "k", "client_secret_hash": CANARY}, METHOD, "client_secret_hash has no use",
    ),
    "an HMAC by a hash": ({METHOD: "client_secret_jwt", "client_secret_hashes": HASHES}, METHOD, "client_secret_jwt needs"),
    "a short HMAC": ({METHOD: "client_secret_jwt", "client_secret": CANARY}, METHOD, "client_secret must be at least 32 bytes"),
    "an HMAC of no text": ({METHOD: "client_secret_jwt", "client_secret": LONG + "\ud800"}, METHOD, "client_secret must be text"),
    "an HMAC and a key": ({METHOD: "client_secret_jwt", "client_secret": LONG, "jwks": {}}, METHOD, "jwks has no use with"),
    "no secret": ({METHOD: "client_secret_post", "public_key": "k"}, METHOD, "client_secret_post needs client_secret, client_"),
    "a secret and a key": ({METHOD: "client_secret_basic", "client_secret": CANARY, "public_key": "k"}, METHOD, "public_key has no"),
    "an unknown method": ({METHOD: "tls_client_auth", "client_secret": CANARY}, METHOD, "must be one of client_secret_basic, "),
    "nowhere to go": ({"client_secret": CANARY, "grant_types": ["implicit"]}, "redirect_uris", "name at least one for implicit"),
    "one place twice": ({"client_secret": CANARY, "redirect_uris": ["u", "u"]}, "redirect_uris", "name each only once"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_its_field_and_shows_no_secret(case: str) -> None:
    fields, field, begins = FAULTS[case]
    (fault,) = client_faults(Registration(**fields))
    assert fault.field == field
    assert fault.message.startswith(begins)
    assert CANARY not in repr(fault) + repr(Registration(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"client_secret": CANARY},
        {"client_secret_hashes": HASHES, "introspect": True},
        {"public_key": ["k"], "jwks": {}, METHOD: "private_key_jwt"},
        {"client_secret_hash": "h", "public_key": "k"},
        {"client_secret": LONG, METHOD: "client_secret_jwt"},
        {METHOD: "none", "grant_types": ["authorization_code"], "redirect_uris": ["u"]},
    ],
)
def test_what_fits_together_has_no_fault(fields: dict[str, Any]) -> None:
    assert client_faults(Registration(**fields)) == []


def test_all_faults_come_together() -> None:
    client = Registration(
        token_endpoint_auth_method="none", grant_types=["client_credentials", "implicit"], introspect=True
    )
    assert [fault.field for fault in client_faults(client)] == [METHOD, "redirect_uris"]


@pytest.mark.parametrize(
    ("malformed", "fields"),
    [
        ([], [METHOD, "redirect_uris"]),
        (["grant_types"], ["redirect_uris", "introspect"]),
        (["client_secret"], ["redirect_uris", "introspect"]),
        ([METHOD], ["redirect_uris"]),
        (["redirect_uris"], [METHOD]),
        (["introspect", "jwks", "redirect_uris"], []),
        (["client_id"], [METHOD, "redirect_uris"]),
    ],
)
def test_nothing_is_derived_from_a_malformed_field(malformed: list[str], fields: list[str]) -> None:
    client = Registration(token_endpoint_auth_method="none", redirect_uris=["u", "u"], introspect=True)
    assert [fault.field for fault in client_faults(client, malformed)] == fields


def test_that_fields_do_not_fit_is_not_said_when_one_is_malformed() -> None:
    assert client_faults(Registration(), ["client_id"]) == []
    assert [fault.field for fault in client_faults(Registration())] == [None]
