"""The manifests and the image: valid, restricted, and true to the program."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar.config.load import load
from sidecar.runtime.ending import GRACE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s"
VERSION = "1.31"
SECRETS = {
    "signing-key": "0123456789abcdef" * 4,
    "client-reporting": "r" * 64,
    "redis-url": "redis://:p@redis:6379/0",
}


def plain() -> list[dict[str, Any]]:
    """The manifests as they stand in the files."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    documents = []
    for name in kustomization["resources"]:
        documents += list(yaml.safe_load_all((FOLDER / name).read_text()))
    return documents


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """What would be applied."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the files are checked unrendered")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(kind: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def containers() -> Iterator[dict[str, Any]]:
    spec = of("Deployment", plain())["spec"]["template"]["spec"]
    yield from spec["initContainers"]
    yield from spec["containers"]


def the(name: str) -> dict[str, Any]:
    return next(container for container in containers() if container["name"] == name)


@pytest.mark.parametrize("document", plain(), ids=lambda document: document["kind"])
def test_each_file_is_valid(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_what_would_be_applied_is_valid(rendered: list[dict[str, Any]]) -> None:
    assert {document["kind"] for document in rendered} == {
        "ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service",
    }  # fmt: skip
    for document in rendered:
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_selectors_meet_the_pods() -> None:
    rendered = plain()
    labels = of("Deployment", rendered)["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        of("Deployment", rendered)["spec"]["selector"]["matchLabels"],
        of("Service", rendered)["spec"]["selector"],
        of("NetworkPolicy", rendered)["spec"]["podSelector"]["matchLabels"],
        of("PodDisruptionBudget", rendered)["spec"]["selector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= labels


def test_the_config_map_that_is_mounted_is_the_one_that_is_made(rendered: list[dict[str, Any]]) -> None:
    volumes = of("Deployment", rendered)["spec"]["template"]["spec"]["volumes"]
    (name,) = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
    assert name == of("ConfigMap", rendered)["metadata"]["name"]


def test_the_sidecar_is_native_and_starts_before_the_api() -> None:
    spec = of("Deployment", plain())["spec"]["template"]["spec"]
    assert [(c["name"], c["restartPolicy"]) for c in spec["initContainers"]] == [("sidecar", "Always")]


def test_its_configuration_is_accepted_and_its_secrets_are_those_of_the_readme(tmp_path: Path) -> None:
    text = (FOLDER / "sidecar.yaml").read_text()
    named = set(re.findall(r"\$\{file:/etc/sidecar/secrets/([\w-]+)\}", text))
    readme = (FOLDER / "README.md").read_text()
    assert named == set(re.findall(r"--from-literal=([\w-]+)=", readme)) == SECRETS.keys()
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    (tmp_path / "sidecar.yaml").write_text(text.replace("/etc/sidecar/secrets", str(tmp_path)))
    settings = load(tmp_path / "sidecar.yaml")
    ports = {port["name"]: port["containerPort"] for port in the("sidecar")["ports"]}
    assert ports == {"http": settings.listen.address.port, "metrics": settings.admin.listen.port}
    listen = the("api")["command"][-1]
    assert settings.upstream.url == (f"http://{listen}",)
    grace = of("Deployment", plain())["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.drain.timeout + the("api")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace > settings.drain.timeout + GRACE + the("api")["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_the_api_is_reachable_through_the_sidecar_only() -> None:
    assert the("api")["command"][-1].startswith("127.0.0.1:")
    assert "ports" not in the("api")
    assert [port["targetPort"] for port in of("Service", plain())["spec"]["ports"]] == ["http"]
    rules = of("NetworkPolicy", plain())["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [["http"], ["metrics"]]
    assert "from" in rules[1], "not everybody may reach the admin port"


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_use_the_admin_listener(probe: str) -> None:
    call = the("sidecar")[probe]["httpGet"]
    assert call["port"] == "metrics"
    assert call["path"] == ("/readyz" if probe == "readinessProbe" else "/healthz")


def test_every_container_is_restricted() -> None:
    """The pod security standard `restricted`, and a read-only root file system."""
    pod = of("Deployment", plain())["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in containers():
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "limits" in container["resources"]


def test_no_secret_stands_in_a_file() -> None:
    assert "Secret" not in {document["kind"] for document in plain()}
    for file in FOLDER.glob("*.yaml"):
        assert "stringData" not in file.read_text()


def test_the_image_runs_as_a_number_and_gets_its_signals() -> None:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    assert "USER 65532:65532" in lines
    assert 'ENTRYPOINT ["sidecar"]' in lines
    assert not any(line.startswith("ADD ") for line in lines)
    final = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert [line for line in final if line.startswith("COPY ")] == ["COPY --from=build /opt/sidecar /opt/sidecar"]


def test_the_image_copies_only_what_the_build_context_lets_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= {part.removeprefix("./") for part in line.split()[1:-1]}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
