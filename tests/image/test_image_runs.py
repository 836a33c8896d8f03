"""The image is built and run: `make image-test`."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar import __version__
from tests.support.container import HARDENED, Engine, missing
from tests.support.documents import ROOT
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=f"no image is built: {missing()}"),
]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EPOCH = 1_700_000_000
CONFIG = """
listen: 127.0.0.1:3030
upstream: {url: http://127.0.0.1:3080}
store: {url: memory://}
limits: {connections: 1000}
tokens: {issuer: https://api.example.com, audience: api, signing_keys: [{kid: "1", alg: HS256, secret: "${file:signing-key}"}]}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    engine = Engine(tmp_path_factory.mktemp("engine"))
    try:
        engine.base(base)
        engine.build("auth-sidecar", SOURCE_DATE_EPOCH=str(EPOCH), REVISION="abc", SOURCE="https://git.example.com/a")
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def image(engine: Engine) -> dict[str, Any]:
    (found,) = json.loads(engine.podman("image", "inspect", "auth-sidecar"))
    return dict(found)


@contextmanager
def container(engine: Engine, *words: str) -> Iterator[str]:
    identity = engine.podman("run", "--detach", "--no-healthcheck", "--network=host", *words).strip()
    try:
        yield identity
    finally:
        engine.podman("rm", "--force", "--time=0", identity)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """An option that mounts a configuration where the image looks for it."""
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    (tmp_path / "signing-key").write_text("0123456789abcdef" * 4)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return f"--volume={tmp_path}:/etc/sidecar:ro"


def healthy(engine: Engine, image: dict[str, Any], identity: str) -> bool:
    """By its HEALTHCHECK."""
    kind, *command = image["HealthCheck"]["Test"] if "HealthCheck" in image else image["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = subprocess.run(
        [*engine.command(), "exec", identity, *command], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode == 0


def test_the_demo_passes_in_a_hardened_container(engine: Engine) -> None:
    said = engine.podman(
        "run", "--rm", "--no-healthcheck", "--network=host", *HARDENED, "auth-sidecar", "demo", "--check"
    )
    assert re.search(r"^(\d+) of \1 steps passed", said, re.MULTILINE), said


def test_it_serves_without_writing_becomes_healthy_and_ends_by_itself(
    engine: Engine, image: dict[str, Any], config: str
) -> None:
    """No file can be written at all. Exit code 0 is that of a finished drain; a kill would be 137."""
    with container(engine, *HARDENED, "--read-only-tmpfs=false", config, "auth-sidecar") as identity:
        wait_until(lambda: healthy(engine, image, identity), within=30)
        engine.podman("stop", "--time=5", identity)
        assert engine.podman("inspect", "--format={{.State.ExitCode}}", identity).strip() == "0"
        log = [json.loads(line) for line in engine.podman("logs", identity).splitlines()]
        assert not [record for record in log if record["level"] in ("warning", "error")]


def test_it_changes_nothing_where_it_could(engine: Engine, image: dict[str, Any], config: str) -> None:
    with container(engine, "--user=0", config, "auth-sidecar") as identity:
        wait_until(lambda: healthy(engine, image, identity), within=30)
        changed = engine.podman("diff", identity).splitlines()
        assert not [
            line for line in changed if not re.fullmatch(r"[AC] /(etc|etc/sidecar|run|run/\..*|dev.*|proc|sys)", line)
        ]


def test_the_health_check_notices_that_nothing_listens(engine: Engine, image: dict[str, Any]) -> None:
    with container(engine, *HARDENED, "--entrypoint=sleep", "auth-sidecar", "60") as identity:
        assert not healthy(engine, image, identity)


def test_no_tool_that_builds_is_left(engine: Engine) -> None:
    look = "ls /opt /opt/sidecar/bin; cd /opt/sidecar/lib/python3*/site-packages && ls -d *; find /opt/sidecar -name '*.pyx'; du -sm /opt/sidecar"
    said = engine.podman(
        "run", "--rm", "--no-healthcheck", *HARDENED, "--network=host", "--entrypoint=sh", "auth-sidecar", "-c", look
    )
    print(said.splitlines()[-1])  # noqa: T201  the size, for who runs it
    words = set(said.split())
    assert {"sidecar", "python"} <= words
    for tool in (
        "build",
        "pip",
        "hatchling",
        "setuptools",
        "wheel",
        "packaging",
        "pluggy",
        "pathspec",
        "trove_classifiers",
    ):
        assert tool not in words


def test_it_says_what_it_is(image: dict[str, Any]) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image["Labels"].items()}
    assert (labels["source"], labels["revision"]) == ("https://git.example.com/a", "abc")
    assert labels["version"] == __version__
    assert image["User"] == "65532:65532"
    assert set(image["Config"]["ExposedPorts"]) == {"3030/tcp", "9464/tcp"}


def test_its_files_have_the_time_that_was_named(engine: Engine) -> None:
    look = f"find /opt/sidecar ! -newermt @{EPOCH - 1} -o -newermt @{EPOCH}"
    words = ("--rm", "--no-healthcheck", *HARDENED, "--network=host", "--entrypoint=sh", "auth-sidecar", "-c", look)
    assert not engine.podman("run", *words).replace("/opt/sidecar\n", "", 1).strip()


def test_the_command_at_the_head_of_the_dockerfile_works(engine: Engine, image: dict[str, Any], tmp_path: Path) -> None:
    """As it is written, with podman in the place of docker; only that it goes into the background."""
    (line,) = re.findall(r"^#\s+(docker run .*)$", DOCKERFILE, re.MULTILINE)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config" / "signing-key").write_text("0123456789abcdef" * 4)
    (tmp_path / "config" / "signing-key").chmod(0o600)
    shown = shlex.join([*engine.command(), "run", "--detach", "--no-healthcheck"])
    env = {**os.environ, "REPORTING_SECRET": "0123456789abcdef" * 4}
    command = line.replace("docker run", shown, 1)
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    identity = done.stdout.strip()
    try:
        wait_until(lambda: healthy(engine, image, identity), within=30)
    finally:
        subprocess.run([*engine.command(), "stop", "--time=5", identity], capture_output=True, timeout=60, check=False)
