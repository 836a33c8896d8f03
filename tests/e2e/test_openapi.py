"""`docs/openapi.yaml` is true: schemathesis sends the real process what it describes and what it does not, and finds no 5xx and
no answer that it does not describe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import (
    allow_header_conformance,
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from sidecar.core.oauth.users import hash_password
from tests.support.keys import PEMS
from tests.support.process import AUDIENCE, ISSUER, SECRET, UNTHROTTLED, Sidecar

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
PATHS = yaml.safe_load(DOCUMENT.read_text())["paths"]
CALLBACK = "https://app.example.com/callback"
# Not those that want unknown parameters refused: RFC 6749 section 3.1 wants them ignored.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
schema = schemathesis.openapi.from_path(DOCUMENT)
few = settings(max_examples=30, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sections() -> dict[str, Any]:
    """All that there is: every kind of client, a user, and a key that is published."""
    return {
        "tokens": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "signing_keys": [{"kid": "e", "alg": "ES256", "private_key": PEMS["ES256"]}],
        },
        "throttling": UNTHROTTLED,
        "users": [{"username": "anna", "password_hash": hash_password("correct horse")}],
        "clients": [
            {
                "client_id": "reporting",
                "client_secret": SECRET,
                "grant_types": ["client_credentials", "refresh_token", "authorization_code", "implicit"],
                "redirect_uris": [CALLBACK],
                "scope": "orders:read orders:write",
                "introspect": True,
            },
        ],
    }


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def send(case: Case, sidecar: Sidecar, session: requests.Session) -> None:
    session.cookies.clear()
    case.call_and_validate(base_url=sidecar.public, session=session, checks=CHECKS, allow_redirects=False, timeout=20)


@schema.parametrize()
@few
def test_whatever_anybody_sends_is_answered_as_described(
    case: Case, sidecar: Sidecar, session: requests.Session
) -> None:
    send(case, sidecar, session)


@schema.parametrize()
@few
def test_whatever_a_client_sends_is_answered_as_described(
    case: Case, sidecar: Sidecar, session: requests.Session
) -> None:
    """With the credentials of a client, so that the answers lie behind them."""
    known = {"client_id": "reporting", "redirect_uri": CALLBACK} if case.path == "/oauth/authorize" else {}
    if known and isinstance(case.query, dict):
        case.query.update(known)
    if not known and isinstance(case.body, dict):
        case.body.update({"client_id": "reporting", "client_secret": SECRET})
    send(case, sidecar, session)


def test_every_endpoint_of_the_process_is_described(sidecar: Sidecar) -> None:
    said = requests.get(f"{sidecar.public}/.well-known/oauth-authorization-server", timeout=10).json()
    named = {value.removeprefix(ISSUER) for key, value in said.items() if key.endswith(("_endpoint", "_uri"))}
    assert named <= PATHS.keys()


def test_the_document_is_of_openapi_3_1() -> None:
    schema.validate()
