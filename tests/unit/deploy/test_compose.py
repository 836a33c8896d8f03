"""deploy/compose: valid by the Compose specification, closed where the comments say so, and true to the program."""

import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from sidecar import __version__
from sidecar.config.advice import advice
from sidecar.config.load import load
from sidecar.core.capacity import fitting, for_clients, price
from sidecar.runtime.ending import GRACE
from tests.support.documents import ROOT
from tests.support.manifests import secrets

FOLDER = ROOT / "deploy" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
MIB = 1024**2


def test_it_is_valid_and_refers_to_what_is_there() -> None:
    compose_spec.PyCompose.from_yaml(TEXT).validate()


@pytest.mark.parametrize(
    ("good", "bad"),
    [("read_only: true", "readonly: true"), ("[redis-password]", "[redis-pass]"), ("[state]", "[stat]")],
)
def test_a_mistake_is_noticed(good: str, bad: str) -> None:
    """The check's own check."""
    with pytest.raises(ValueError, match=bad.strip("[]").split(":", maxsplit=1)[0]):
        compose_spec.PyCompose.from_yaml(TEXT.replace(good, bad, 1)).validate()


def test_its_configuration_is_accepted(tmp_path: Path) -> None:
    text = (FOLDER / "config" / "sidecar.yaml").read_text()
    asked = set(re.findall(r"\$\{file:/run/secrets/([^}]+)\}", text))
    assert asked == set(SERVICES["sidecar"]["secrets"])
    for name, value in secrets().items():
        (tmp_path / name).write_text(value)
    (tmp_path / "sidecar.yaml").write_text(text.replace("/run/secrets/", ""))
    settings = load(tmp_path / "sidecar.yaml")
    assert advice(settings, now=0) == []
    assert settings.upstream.url == (f"http://{SERVICES['api']['entrypoint'][-1]}",)
    assert SERVICES["sidecar"]["ports"] == [
        f"{settings.listen.address.port}:{settings.listen.address.port}",
        f"127.0.0.1:{settings.admin.listen.port}:{settings.admin.listen.port}",
    ]
    grace = int(SERVICES["sidecar"]["stop_grace_period"].removesuffix("s"))
    assert grace > settings.drain.timeout + GRACE
    memory, limit = settings.limits.memory, int(SERVICES["sidecar"]["mem_limit"].removesuffix("m")) * MIB
    assert memory is not None
    assert memory <= for_clients(limit - 160 * MIB)
    assert fitting(settings.limits.connections, memory, price(secure=False)) == settings.limits.connections


def test_every_secret_is_a_file_that_its_head_makes() -> None:
    made = set(re.findall(r"(?:--out|>) (secrets/[\w.-]+)", TEXT))
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} <= made
    assert (FOLDER / ".gitignore").read_text().splitlines()[-1] == "secrets/"


def test_nobody_reaches_the_api_or_redis_from_outside() -> None:
    assert SERVICES["api"]["network_mode"] == "service:sidecar"
    assert SERVICES["api"]["entrypoint"][-1].startswith("127.0.0.1:")
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["sidecar"]
    assert SERVICES["redis"]["networks"] == ["state"]
    assert COMPOSE["networks"]["state"] == {"internal": True}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "healthcheck", "restart"} <= service.keys()


def test_the_image_is_the_one_of_this_version() -> None:
    assert {service["image"] for service in SERVICES.values()} == {f"auth-sidecar:{__version__}", "redis:8-alpine"}


def test_a_changed_file_reaches_the_process() -> None:
    """The folder is mounted: a mounted file stays what it was when an editor replaces it."""
    (mount,) = SERVICES["sidecar"]["volumes"]
    source, target, mode = mount.split(":")
    assert (FOLDER / source).is_dir()
    assert (target, mode) == ("/etc/sidecar", "ro")
