"""Configurations that the commands read."""

from pathlib import Path

import pytest
import yaml

from sidecar.core.oauth.secrets import hash_secret
from tests.support.assertions import ec_pair, rsa_pair
from tests.support.process import configuration


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1")))
    return path


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    """A configuration with a client of each kind."""
    clients = [
        {
            "client_id": "reporting",
            "client_name": "Reporting",
            "client_secret_hashes": [hash_secret(f"canary-{n}", bytes(16), "sha256") for n in range(2)],
            "scope": "a b",
            "roles": ["analyst"],
            "introspect": True,
            "disabled": True,
        },
        {
            "client_id": "warehouse",
            "jwks": {"keys": [{**ec_pair().jwk, "kid": "2026"}]},
            "public_key": rsa_pair().public,
        },
        {
            "client_id": "app",
            "token_endpoint_auth_method": "none",
            "grant_types": ["implicit", "authorization_code"],
            "redirect_uris": ["https://app.example.com/cb"],
        },
        {"client_id": "hs", "client_secret": "canary" * 6, "token_endpoint_auth_method": "client_secret_jwt"},
    ]
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", clients=clients)))
    return path
