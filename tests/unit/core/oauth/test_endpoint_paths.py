"""core.oauth.endpoint_paths: the one table of where our endpoints are."""

import yaml

from sidecar.core.oauth import endpoint_paths
from tests.support.documents import ROOT


def test_the_openapi_document_describes_every_endpoint_and_no_other() -> None:
    document = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
    assert set(document["paths"]) == set(endpoint_paths.ALL)


def test_the_table_names_each_once() -> None:
    named = {value for name, value in vars(endpoint_paths).items() if name.isupper() and isinstance(value, str)}
    assert named == set(endpoint_paths.ALL)
    assert len(endpoint_paths.ALL) == len(named)
    assert set(endpoint_paths.MEMBERS) <= named


def test_a_label_is_the_same_below_an_issuer() -> None:
    labels = [endpoint_paths.label_of(path) for path in endpoint_paths.ALL]
    assert labels == ["token", "authorize", "revoke", "introspect", "logout", "jwks", "metadata"]
    assert [endpoint_paths.label_of(f"/realm{path}") for path in endpoint_paths.ALL] == labels
    assert endpoint_paths.label_of(f"{endpoint_paths.METADATA}/realm") == "metadata"
