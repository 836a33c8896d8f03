"""The README's commands, pasted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Sidecar
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands(heading: str) -> list[str]:
    """The commands of a section, each with its here-document."""
    section = re.split(r"^#+ ", README.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    text = "\n".join(re.findall(r"```console\n(.*?)```", section, re.DOTALL))
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
            inside = "<<" in line
        elif inside:
            found[-1] += "\n" + line
            inside = line != "END"
    return found


def run(command: str, folder: Path, **env: str) -> str:
    """In bash, with this interpreter's `sidecar`."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env={**os.environ, "PATH": path, **env}, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[tuple[Path, Sidecar]]:
    """The section "Use it", done; with Redis, on free ports."""
    folder = tmp_path_factory.mktemp("readme")
    with RedisServer() as redis:
        changes = {
            "127.0.0.1:3080": shared_upstream.url.removeprefix("http://"),
            "listen: 0.0.0.0:3030": f"listen: 127.0.0.1:{free_port()}\nadmin: {{listen: 127.0.0.1:0}}",
            "memory://": redis.url,
        }
        *prepare, check, serve = commands("Use it")
        assert serve == "sidecar serve --config sidecar.yaml"
        for command in prepare:
            if command == "pip install .":
                continue
            for old, new in changes.items():
                command = command.replace(old, new)  # noqa: PLW2901
            run(command, folder)
        assert "sidecar.yaml: ok (1 clients, 2 routes)" in run(check, folder)
        with Sidecar(folder, folder / "sidecar.yaml") as sidecar:
            yield folder, sidecar.ready()


def at(command: str, sidecar: Sidecar) -> str:
    return command.replace("http://127.0.0.1:3030", sidecar.public)


def test_a_token_is_got_used_and_revoked(place: tuple[Path, Sidecar]) -> None:
    folder, sidecar = place
    (get,) = commands("Getting a token")
    answer = json.loads(run(at(get, sidecar), folder))
    shown = re.search(r'^\{"access_token".*\}$', README, re.MULTILINE)
    assert shown
    assert answer.keys() == json.loads(shown[0]).keys()
    token = answer["access_token"]
    call = f"curl -s -o /dev/null -w '%{{http_code}}' {sidecar.public}/orders -H 'Authorization: Bearer {token}'"
    assert run(call, folder) == "200"
    by_client, by_operator = (command.partition("     #")[0] for command in commands("Revoking"))
    assert run(at(by_client, sidecar), folder, TOKEN=token) == ""
    assert run(call, folder) == "401"
    (folder / "token.txt").write_text(json.loads(run(at(get, sidecar), folder))["access_token"])
    assert "revoked" in run(by_operator, folder)


def test_a_key_is_made_and_listed(place: tuple[Path, Sidecar]) -> None:
    folder, _ = place
    section = README.partition("\n### Keys\n")[2]
    for command in commands("Keys"):
        shown = re.split(r"^(?:\$|```)", section.partition(f"$ {command}\n")[2], flags=re.MULTILINE)[0]
        assert run(command, folder) == shown
    assert (folder / "2026-12.pem").stat().st_mode & 0o777 == 0o600


def test_metadata_and_keys_are_published(place: tuple[Path, Sidecar]) -> None:
    folder, sidecar = place
    metadata, keys = (json.loads(run(at(command, sidecar), folder)) for command in commands("Metadata and JWKS"))
    assert metadata["token_endpoint"] == "https://api.example.com/oauth/token"
    assert keys == {"keys": []}


def test_the_refusal_is_the_one_that_is_shown(place: tuple[Path, Sidecar]) -> None:
    folder, sidecar = place
    (call,) = commands("What a refusal looks like")
    answer = run(at(call, sidecar), folder)
    shown = README.partition(call + "\n")[2].partition("```")[0]
    for line in shown.splitlines():
        assert line in answer.replace("\r", "").splitlines()


def test_every_metric_that_is_named_is_there(place: tuple[Path, Sidecar]) -> None:
    named = set(re.findall(r"`(sidecar_[a-z_]+)", README))
    folder, sidecar = place
    text = run(f"curl -s {sidecar.admin}/metrics", folder)
    families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert {name for name in families if name.startswith("sidecar_")} == named
