"""The Kubernetes manifests as they would be applied: kustomize renders them, with secrets that the command line made."""

import base64
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.config.load import load
from sidecar.config.settings import Settings
from tests.support.certificates import Authority
from tests.support.documents import ROOT

K8S: Final = ROOT / "deploy" / "k8s"
OVERLAYS: Final = sorted(folder.name for folder in (K8S / "overlays").iterdir() if folder.is_dir())
CLIENT_SECRET: Final = "0123456789abcdef" * 4
SENTINELS: Final = "redis-0.redis,redis-1.redis,redis-2.redis"
REDIS_URL: Final = f"redis+sentinel://:p@{SENTINELS}/orders/0?sentinel_password=p"

Document = dict[str, Any]


def tool(name: str) -> str:
    """A program of this environment, or else of the machine."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is part of `.[dev]`"
    return found


def secrets() -> dict[str, str]:
    """The files of the README, as its commands make them."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "signing-key.pem"
        made = CliRunner().invoke(main, ["keys", "generate", "--alg", "ES256", "--out", str(key)])
        assert made.exit_code == 0, made.output
        hashed = CliRunner().invoke(main, ["hash-secret"], input=CLIENT_SECRET)
        assert hashed.exit_code == 0, hashed.output
        return {
            "signing-key.pem": key.read_text(),
            "client-reporting.hash": hashed.output,
            "redis-url": f"{REDIS_URL}\n",
        }


def place(folder: Path) -> Path:
    """A copy of deploy/k8s, and of what lies beside it, with these files wherever an overlay asks for them."""
    copy = folder / "k8s"
    for name in ("k8s", "prometheus", "grafana"):
        shutil.copytree(K8S.parent / name, folder / name, ignore=shutil.ignore_patterns("secrets"))
    made = {**secrets(), "redis-password": "p\n"}
    for overlay in ("orders-api", "overlays/standalone", "overlays/redis-sentinel"):
        (copy / overlay / "secrets").mkdir()
        for name, text in made.items():
            (copy / overlay / "secrets" / name).write_text(text)
    return copy


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )


def render(folder: Path) -> list[Document]:
    done = kustomize(folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a warning of kustomize"
    return list(yaml.safe_load_all(done.stdout))


@cache
def rendered(overlay: str) -> list[Document]:
    """What an overlay applies. Do not change it."""
    with tempfile.TemporaryDirectory() as folder:
        return render(place(Path(folder)) / "overlays" / overlay)


def named(documents: list[Document], kind: str, name: str | None = None) -> Document:
    """The one document of this kind, or of this kind and name."""
    (found,) = [each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def workloads(documents: list[Document]) -> list[Document]:
    return [each for each in documents if each["kind"] in ("Deployment", "StatefulSet")]


def pod(workload: Document) -> Document:
    """The specification of its pods."""
    found: Document = workload["spec"]["template"]["spec"]
    return found


def containers(spec: Document) -> Iterator[Document]:
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def container(documents: list[Document], name: str) -> Document:
    spec = pod(named(documents, "Deployment"))
    return next(each for each in containers(spec) if each["name"] == name)


def settings_of(documents: list[Document], folder: Path) -> Settings:
    """What our own loader makes of the configuration in these documents: their volume, with the files where it has them."""
    spec = pod(named(documents, "Deployment"))
    (volume,) = [each for each in spec["volumes"] if each["name"] == "sidecar"]
    for source in volume["projected"]["sources"]:
        for kind, reference in source.items():
            document = named(documents, {"configMap": "ConfigMap", "secret": "Secret"}[kind], reference["name"])
            for name, text in contents(document).items():
                (folder / name).write_text(text)
    file = folder / "sidecar.yaml"
    text = file.read_text()
    if "/etc/sidecar-tls" in text:
        pair = Authority(folder).issue("tls", "orders.example.com")
        text = text.replace("/etc/sidecar-tls/tls.crt", str(pair.certificate))
        text = text.replace("/etc/sidecar-tls/tls.key", str(pair.key))
        file.write_text(text)
    return load(file)


def contents(document: Document) -> dict[str, str]:
    """The files of a ConfigMap or of a Secret."""
    data: dict[str, str] = document.get("data", {})
    if document["kind"] == "ConfigMap":
        return data
    return {**document.get("stringData", {}), **{name: base64.b64decode(text).decode() for name, text in data.items()}}


def memory(size: str) -> int:
    """Bytes of a quantity such as 256Mi."""
    assert size.endswith("Mi"), size
    return int(size.removesuffix("Mi")) * 1024**2
