"""The custom resources of deploy/, by the schemas that npm has of cert-manager, the Gateway API and the Prometheus operator.
`tests/unit/deploy` validates everything else, and knows no other kinds."""

import json
import shutil
import subprocess
from typing import Any, Final

import pytest

from tests.support import helm
from tests.support.documents import ROOT
from tests.support.manifests import OVERLAYS, Document, rendered
from tests.unit.deploy.test_helm import ALL, values

MODELS: Final = ROOT / "tests" / "models"
KINDS: Final = {"PodMonitor", "PrometheusRule", "HTTPRoute", "Certificate"}


def custom() -> list[Document]:
    documents = [document for overlay in OVERLAYS for document in rendered(overlay)]
    documents += helm.rendered(values(**ALL))
    return [document for document in documents if document["kind"] in KINDS]


@pytest.fixture(scope="module")
def node() -> str:
    """Node with the schemas, in the versions that the lock file pins. `make test` installs Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    if not (MODELS / "node_modules").is_dir():
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=MODELS, check=True, timeout=120)
    return node


def faults(node: str, documents: list[Document]) -> list[str]:
    done = subprocess.run(
        [node, "validate.mjs"],
        cwd=MODELS,
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_every_custom_resource_is_valid(node: str) -> None:
    documents = custom()
    assert {"PodMonitor", "HTTPRoute", "Certificate"} <= {document["kind"] for document in documents} <= KINDS
    assert faults(node, documents) == [""] * len(documents)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("PodMonitor", {"selector": {}, "podMetricsEndpoints": [{"port": 9464}]}, "port must be string"),
        ("PodMonitor", {"selector": {}, "podMetricsEndpoints": [{"prot": "metrics"}]}, "unknown: prot"),
        ("HTTPRoute", {"rules": [{"backendRefs": [{"name": "a", "port": "80"}]}]}, "port must be integer"),
        ("Certificate", {"secretName": "a"}, "issuerRef"),
    ],
)
def test_a_mistake_is_noticed(node: str, kind: str, wrong: dict[str, Any], said: str) -> None:
    """The check's own check."""
    good = next(document for document in custom() if document["kind"] == kind)
    (found,) = faults(node, [{**good, "spec": wrong}])
    assert said in found
