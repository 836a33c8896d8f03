"""Every overlay: valid for each version of Kubernetes that the README claims, restricted, and complete."""

import re
from pathlib import Path

import kubernetes_validate
import pytest

from sidecar import __version__
from tests.support.manifests import (
    K8S,
    OVERLAYS,
    Document,
    containers,
    kustomize,
    named,
    place,
    pod,
    rendered,
    workloads,
)  # fmt: skip

CUSTOM = {"PodMonitor", "PrometheusRule", "HTTPRoute", "Certificate"}
README = (K8S / "README.md").read_text()
NEWEST = kubernetes_validate.latest_version()


def claimed() -> dict[str, list[str]]:
    """The versions by the README's table of overlays: `| `example` | 1.30 to 1.37 | …`."""
    rows = re.findall(r"^\| `(\w[\w-]*)` \| 1\.(\d+) to 1\.(\d+) \|", README, re.MULTILINE)
    return {name: [f"1.{minor}" for minor in range(int(first), int(last) + 1)] for name, first, last in rows}


def test_the_readme_claims_versions_for_every_overlay() -> None:
    assert claimed().keys() == set(OVERLAYS)
    assert claimed()["example"][-1] == ".".join(NEWEST.split(".")[:2]), (
        "a newer schema is known: claim it, or say why not"
    )


@pytest.mark.parametrize(
    ("overlay", "version"), [(overlay, version) for overlay in OVERLAYS for version in claimed().get(overlay, [])]
)
def test_each_overlay_is_valid_for_each_version_that_is_claimed(overlay: str, version: str) -> None:
    for document in rendered(overlay):
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_mistake_is_noticed() -> None:
    """The check's own check: an unknown key, and a wrong type."""
    service = named(rendered("example"), "Service")
    for wrong in ({"ports": [{"prot": 80}]}, {"ports": [{"port": "http"}]}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**service, "spec": wrong}, "1.34", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    """The pod security standard `restricted`, and a read-only root file system."""
    for workload in workloads(rendered(overlay)):
        is_restricted(pod(workload))


def is_restricted(spec: Document) -> None:
    assert {*spec} & {"hostNetwork", "hostPID", "hostIPC"} == set()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for volume in spec["volumes"]:
        assert {*volume} - {"name"} <= {"configMap", "secret", "projected", "emptyDir"}
    for each in containers(spec):
        context = {**spec.get("securityContext", {}), **each["securityContext"]}
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in each["resources"]["limits"]
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_meet_the_pods_and_only_some(overlay: str) -> None:
    """An empty selector would be one of every pod of the namespace."""
    documents = rendered(overlay)
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in workloads(documents)]
    api = {"app.kubernetes.io/name": "orders-api"}  # the standalone sidecar's API is somebody else's
    for document in documents:
        spec = document.get("spec", {})
        for selector in (spec.get("selector"), spec.get("podSelector")):
            if selector is not None:
                labels = selector.get("matchLabels", selector)
                assert labels, document["metadata"]["name"]
                assert [pod for pod in [*pods, api] if labels.items() <= pod.items()], document["metadata"]["name"]
    for workload in workloads(documents):
        for constraint in pod(workload)["topologySpreadConstraints"]:
            assert constraint["labelSelector"] == workload["spec"]["selector"], "without it, the pods are not spread"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_has_the_recommended_labels(overlay: str) -> None:
    """On the workloads of the API and the sidecar, and on their pods, all of them."""
    recommended = {
        f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")
    }
    deployment = named(rendered(overlay), "Deployment")
    for labels in (deployment["metadata"]["labels"], deployment["spec"]["template"]["metadata"]["labels"]):
        assert recommended <= labels.keys()
        assert labels["app.kubernetes.io/version"] == __version__
    assert not [label for label in deployment["spec"]["selector"]["matchLabels"] if label.endswith("/version")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_is_mounted_or_scaled_is_there(overlay: str) -> None:
    documents = rendered(overlay)
    there = {(each["kind"], each["metadata"]["name"]) for each in documents}
    there |= {("Secret", each["spec"]["secretName"]) for each in documents if each["kind"] == "Certificate"}
    asked = {
        ("Deployment", each["spec"]["scaleTargetRef"]["name"])
        for each in documents
        if "scaleTargetRef" in each.get("spec", {})
    }
    for workload in workloads(documents):
        for volume in pod(workload)["volumes"]:
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "configMap" in source:
                    asked.add(("ConfigMap", source["configMap"]["name"]))
                if "secret" in source:
                    asked.add(("Secret", source["secret"].get("secretName") or source["secret"]["name"]))
    assert asked <= there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_is_the_one_of_this_version(overlay: str) -> None:
    images = {each["image"] for workload in workloads(rendered(overlay)) for each in containers(pod(workload))}
    assert images - {"redis:8-alpine"} == {f"auth-sidecar:{__version__}"}


def test_no_secret_stands_in_a_file() -> None:
    for file in K8S.rglob("*.yaml"):
        if "secrets" not in file.parts:
            assert "kind: Secret\n" not in file.read_text(), file
            assert "PRIVATE KEY" not in file.read_text(), file
    assert (K8S / ".gitignore").read_text().splitlines()[-1] == "secrets/"


def test_without_its_secrets_nothing_is_rendered(tmp_path: Path) -> None:
    folder = place(tmp_path)
    (folder / "orders-api" / "secrets" / "signing-key.pem").unlink()
    done = kustomize(folder / "overlays" / "example")
    assert done.returncode != 0
    assert "signing-key.pem" in done.stderr


def test_what_is_for_trials_says_so() -> None:
    assert (K8S / "overlays" / "redis-sentinel" / "kustomization.yaml").read_text().startswith("# FOR TRIALS")
    assert re.search(r"`redis-sentinel` \|[^|]*\|[^|]*trials", README)
