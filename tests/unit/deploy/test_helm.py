"""The Helm chart: with the values of its README it renders what the overlay `standalone` applies, and refuses values that it does not know."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar import __version__
from sidecar.config.advice import advice
from tests.support import helm
from tests.support.helm import CHART
from tests.support.manifests import REDIS_URL, Document, container, named, pod, rendered, secrets, settings_of

VERSIONS = [f"1.{minor}" for minor in range(27, 38)]


def values(**changes: Any) -> dict[str, Any]:
    """Those of the README, with changes at the top."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    return {**yaml.safe_load(text), **changes}


def chart(**changes: Any) -> list[Document]:
    return helm.rendered(values(**changes))


ALL: dict[str, Any] = {
    "tls": {"existingSecret": "orders-tls"},
    "autoscaling": {"enabled": False},
    "restartOnChange": True,
    "imagePullSecrets": [{"name": "registry"}],
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"e": "f"}},
    "networkPolicy": {"egress": [], "metricsFrom": ["monitoring", "grafana"]},
}
"""Every value is another than by default."""


def test_it_has_no_fault() -> None:
    assert helm.lint(values()) == ["icon is recommended"]


@pytest.mark.parametrize("changes", [{}, ALL], ids=["readme", "all"])
@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid_for_each_version(version: str, changes: dict[str, Any]) -> None:
    for document in chart(**changes):
        if document["kind"] != "PodMonitor":
            kubernetes_validate.validate(document, version, strict=True)


def test_it_claims_these_versions() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["kubeVersion"] == f">={VERSIONS[0]}.0-0"
    assert f"Kubernetes {VERSIONS[0]} or later" in (CHART / "README.md").read_text()
    assert (about["version"], about["appVersion"]) == (__version__, __version__)


def test_its_pods_are_those_of_the_overlay() -> None:
    """`test_pods` and `test_manifests` look at the overlay."""
    mine, overlay = container(chart(), "sidecar"), container(rendered("standalone"), "sidecar")
    assert mine.pop("image") == f"registry.example.com/auth-sidecar:{__version__}"
    assert mine.pop("imagePullPolicy") == "IfNotPresent"
    assert mine == {key: value for key, value in overlay.items() if key != "image"}
    ours, theirs = pod(named(chart(), "Deployment")), pod(named(rendered("standalone"), "Deployment"))
    assert ours.keys() == theirs.keys()
    for key in ours.keys() - {"containers", "volumes", "topologySpreadConstraints"}:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("changes", [{}, ALL], ids=["readme", "all"])
def test_its_configuration_is_accepted(changes: dict[str, Any], tmp_path: Path) -> None:
    documents = chart(**changes)
    documents.append({"kind": "Secret", "metadata": {"name": "orders-sidecar"}, "stringData": secrets()})
    settings = settings_of(documents, tmp_path)
    assert advice(settings, now=0) == []
    assert settings.store.url.get_secret_value() == REDIS_URL
    assert (settings.listen.address.port, settings.admin.listen.port) == (3030, 9464)
    assert (settings.tls is not None, settings.limits.connections) == ((True, 900) if changes else (False, 8000))
    assert settings.limits.memory == 128 * 1024**2


def test_selectors_meet_the_pods() -> None:
    documents = chart(**ALL)
    deployment = named(documents, "Deployment")
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert pod(deployment)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    assert named(documents, "Service")["spec"]["selector"] == labels
    assert named(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert named(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert named(documents, "PodMonitor")["spec"]["selector"]["matchLabels"] == labels
    assert named(chart(), "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_every_value_has_an_effect() -> None:
    documents = chart(**ALL)
    spec, template = pod(named(documents, "Deployment")), named(documents, "Deployment")["spec"]["template"]
    assert named(documents, "Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in named(chart(), "Deployment")["spec"]
    assert {"a", "checksum/config"} <= template["metadata"]["annotations"].keys()
    assert template["metadata"]["labels"]["c"] == "d"
    for key in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert spec[key] == ALL[key]
    service = named(documents, "Service")
    assert (service["spec"]["type"], service["metadata"]["annotations"]) == ("LoadBalancer", {"e": "f"})
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"], port["appProtocol"]) == ("https", 443, 3030, "https")
    policy = named(documents, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"], "no rule of egress: nothing is limited"
    assert len(policy["ingress"][1]["from"]) == 2
    assert named(chart(), "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert named(documents, "PodMonitor")["metadata"]["labels"]["release"] == "prometheus"
    digest = f"sha256:{'0' * 64}"
    image = container(chart(image={"repository": "r/a", "digest": digest}), "sidecar")["image"]
    assert image == f"r/a@{digest}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"existingSecret": ""}, "existingSecret"),
        ({"config": {}}, "upstream"),
        ({"replicas": 3}, "replicas"),
        ({"image": {"repository": "a", "digest": "latest"}}, "digest"),
        ({"config": {**values()["config"], "listen": "0.0.0.0:80"}}, "config"),
        ({"config": {**values()["config"], "admin": {"listen": "0.0.0.0:80"}}}, "config"),
        ({"service": {"type": "Other"}}, "service"),
    ],
)
def test_values_that_it_does_not_know_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.Refused, match=said):
        chart(**changes)


def test_every_default_is_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert yaml.safe_load((CHART / "values.yaml").read_text()).keys() == schema["properties"].keys() - {"global"}
