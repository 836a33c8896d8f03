"""The main use: the sidecar is added to a Deployment that exists, with the files and commands of the README."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.documents import ROOT
from tests.support.manifests import K8S, container, kustomize, named, place, pod, render, settings_of

README = (K8S / "README.md").read_text()
YOURS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders-api, labels: {team: orders}}
spec:
  replicas: 3
  selector: {matchLabels: {app: orders, track: stable}}
  template:
    metadata: {labels: {app: orders, track: stable}, annotations: {prometheus.io/port: "9100"}}
    spec:
      terminationGracePeriodSeconds: 10
      initContainers: [{name: migrate, image: orders}]
      containers:
        - name: orders
          image: orders
          args: [--listen, "127.0.0.1:3080"]
          volumeMounts: [{name: cache, mountPath: /cache}]
        - {name: helper, image: helper}
      volumes: [{name: cache, emptyDir: {}}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: orders-api}
spec: {selector: {app: orders}, ports: [{port: 80, targetPort: 3080}]}
"""


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the README says: the clone, and beside it the folder with the Deployment."""
    whole = tmp_path_factory.mktemp("readme")
    (whole / "auth-sidecar" / "deploy").mkdir(parents=True)
    place(whole / "auth-sidecar" / "deploy")
    folder = whole / "orders"
    folder.mkdir()
    (text,) = re.findall(r"```yaml\n(.*?)```", section("Add it to your Deployment"), re.DOTALL)
    (folder / "kustomization.yaml").write_text(text)
    (folder / "deployment.yaml").write_text(YOURS)
    (folder / "service.yaml").write_text(SERVICE)
    (folder / "sidecar.yaml").write_text((K8S / "orders-api" / "sidecar.yaml").read_text())
    block = re.findall(r"```sh\n(.*?)```", section("Add it to your Deployment"), re.DOTALL)[-1]
    commands = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("kubectl"))
    commands = re.sub(r"\bsidecar (?=keys|hash)", f"{sys.executable} -m sidecar ", commands)
    done = subprocess.run(
        ["bash", "-e", "-c", commands], cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return whole


@pytest.fixture
def folder(tmp_path: Path, prepared: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(prepared, tmp_path / "copy")
    return tmp_path / "copy" / "orders"


def test_the_sidecar_is_added_and_everything_else_stays(folder: Path, tmp_path: Path) -> None:
    documents = render(folder)
    deployment, before = named(documents, "Deployment"), yaml.safe_load(YOURS)
    assert deployment["metadata"] == before["metadata"]
    assert deployment["spec"]["selector"] == before["spec"]["selector"], "it cannot be changed in a cluster"
    assert deployment["spec"]["template"]["metadata"] == before["spec"]["template"]["metadata"]
    spec, was = pod(deployment), pod(before)
    assert [each["name"] for each in spec["initContainers"]] == ["sidecar", "migrate"]
    for mine, yours in zip(spec["containers"], was["containers"], strict=True):
        assert {key: value for key, value in mine.items() if key != "lifecycle"} == yours
    assert [each["name"] for each in spec["volumes"]] == ["sidecar", "cache"]
    assert spec.keys() == was.keys(), "the pod's own settings are those of the API"
    assert container(documents, "sidecar")["image"] == "registry.example.com/auth-sidecar:0.1.0"
    (port,) = named(documents, "Service")["spec"]["ports"]
    assert port["targetPort"] == 3030
    settings = tmp_path / "mounted"
    settings.mkdir()
    assert settings_of(documents, settings).upstream.url == ("http://127.0.0.1:3080",)


def test_the_other_components_take_the_names_and_labels_of_the_deployment(folder: Path) -> None:
    file = folder / "kustomization.yaml"
    wanted = ("availability", "network-policy", "egress", "monitoring")
    more = "".join(f"  - ../auth-sidecar/deploy/k8s/components/{name}\n" for name in wanted)
    file.write_text(file.read_text().replace("patches:\n", f"{more}patches:\n", 1))
    documents = render(folder)
    labels = {"app": "orders", "track": "stable"}
    for kind, name, path in (
        ("PodDisruptionBudget", "orders-api", "selector"),
        ("NetworkPolicy", "orders-api-ingress", "podSelector"),
        ("NetworkPolicy", "orders-api-egress", "podSelector"),
        ("PodMonitor", "orders-api-sidecar", "selector"),
    ):
        assert named(documents, kind, name)["spec"][path] == {"matchLabels": labels}
    (constraint,) = pod(named(documents, "Deployment"))["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": labels}


@pytest.mark.parametrize(
    ("deployments", "said"), [(["orders-api", "worker"], "multiple matches"), ([], "nothing selected")]
)
def test_which_deployment_is_meant_is_never_guessed(folder: Path, deployments: list[str], said: str) -> None:
    text = "---".join(YOURS.replace("orders-api", name) for name in deployments)
    (folder / "deployment.yaml").write_text(text or SERVICE.replace("orders-api", "other"))
    done = kustomize(folder)
    assert done.returncode != 0
    assert said in done.stderr
    assert said in (K8S / "components" / "sidecar" / "kustomization.yaml").read_text()


def test_a_prefix_and_a_namespace_reach_every_name(folder: Path) -> None:
    file = folder / "kustomization.yaml"
    file.write_text(f"namePrefix: eu-\nnamespace: orders\n{file.read_text()}")
    documents = render(folder)
    assert {each["metadata"]["namespace"] for each in documents} == {"orders"}
    (volume,) = [each for each in pod(named(documents, "Deployment"))["volumes"] if each["name"] == "sidecar"]
    names = [reference["name"] for source in volume["projected"]["sources"] for reference in source.values()]
    assert names == ["eu-orders-api-sidecar"] * 2
    for kind in ("ConfigMap", "Secret"):
        assert named(documents, kind)["metadata"]["name"] == "eu-orders-api-sidecar"
