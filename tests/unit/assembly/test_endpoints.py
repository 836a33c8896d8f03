"""assembly.endpoints: which endpoints there are, where, and what pages of other origins may read of them."""

import asyncio
import json
from typing import Any

from sidecar.assembly.endpoints import Served, endpoints
from sidecar.assembly.keys import admission_rules, token_rules
from sidecar.assembly.living import Living
from sidecar.config.settings import Settings
from sidecar.core.oauth import endpoint_paths
from sidecar.core.replies import EndpointRequest
from tests.support.process import configuration


def served(parts: Living, issuer: str) -> Served:
    tokens: dict[str, Any] = {"issuer": issuer, "audience": "api", "signing_keys": [{"kid": "k", "alg": "HS256", "secret": "k" * 32}]}  # fmt: skip
    settings = Settings.model_validate(configuration("http://127.0.0.1:1", tokens=tokens))
    rules = token_rules(settings.tokens)
    return endpoints(settings, rules, admission_rules(settings, rules.ring), parts)


def test_all_are_served_and_described(parts: Living) -> None:
    ours, _ = served(parts, "https://issuer.example")
    assert set(ours) == set(endpoint_paths.ALL)
    request = EndpointRequest("GET", endpoint_paths.METADATA, "", (), b"", "peer")
    document = json.loads(asyncio.run(ours[endpoint_paths.METADATA](request)).body)  # type: ignore[arg-type]
    assert document["token_endpoint"] == "https://issuer.example/oauth/token"


def test_an_issuer_with_a_path_has_its_endpoints_there_too(parts: Living) -> None:
    ours, shared = served(parts, "https://issuer.example/tenant")
    assert {endpoint_paths.TOKEN, "/tenant" + endpoint_paths.TOKEN} <= set(ours)
    places = {endpoint_paths.METADATA, endpoint_paths.METADATA + "/tenant", "/tenant" + endpoint_paths.METADATA}
    assert places <= set(ours)
    assert {"/tenant" + endpoint_paths.TOKEN, *places} <= set(shared)


def test_an_issuer_that_is_no_url_has_no_metadata(parts: Living) -> None:
    assert endpoint_paths.METADATA not in served(parts, "issuer")[0]


def test_what_decides_for_somebody_is_never_shared(parts: Living) -> None:
    _, shared = served(parts, "https://issuer.example")
    assert set(shared) == {endpoint_paths.TOKEN, endpoint_paths.REVOKE, endpoint_paths.JWKS, endpoint_paths.METADATA}
