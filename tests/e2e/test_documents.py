"""What the documents tell people to type is typed here, or listed here with the reason why not."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import click
import pytest

from sidecar.cli import main
from sidecar.core.tokens import FUTURE_TOLERANCE
from tests.support.assertions import ed_pair, parameters, sign
from tests.support.documents import ROOT, blocks, documents, prompts, steps, unrunnable
from tests.support.people import CLIENT_SECRET, VERIFIER, Browser, clients, code_request, users
from tests.support.process import ISSUER, get, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.walk import INSTALL, WALK, Place, place, steps_of

CONFIGS: Final = ["config/login.yaml", "config/standalone.yaml"]
GUIDES: Final = [
    name for name in documents() if name.startswith("docs/guides/") and "```console" in (ROOT / name).read_text()
]
"""Each is complete by itself: its reader has `sidecar` installed, and an empty folder."""
TYPED: Final = {*WALK, *CONFIGS, *GUIDES}
"""The documents whose `$` lines are typed: by `test_readme`, and below."""

ENGINE: Final = "needs a container engine"
CLUSTER: Final = "needs a cluster"
ELSEWHERE: Final = "tests/unit/deploy/test_component.py types it"
SERVICE: Final = "needs root and systemd; tests/unit/deploy/test_systemd.py checks the unit and its commands"
OURS: Final = "the suite itself, or what runs beside it"
NOT_TYPED: Final = {
    "docker build --tag registry.example.com/auth-sidecar:0.1.0": ENGINE,
    "docker push registry.example.com/auth-sidecar:0.1.0": ENGINE,
    "umask 077 && mkdir secrets": ELSEWHERE,
    "sidecar keys generate --alg ES256 --out secrets/signing-key.pem": ELSEWHERE,
    "openssl rand -hex 32 > secrets/client-reporting": ELSEWHERE,
    "sidecar hash-secret < secrets/client-reporting": ELSEWHERE,
    "echo 'redis://:PASSWORD@redis:6379/0' > secrets/redis-url": ELSEWHERE,
    "cd deploy/k8s && umask 077": CLUSTER,
    "openssl rand -hex 32 > overlays/redis-sentinel/secrets/redis-password": CLUSTER,
    "cd orders-api": CLUSTER,
    "PASSWORD=$(cat ../overlays/redis-sentinel/secrets/redis-password)": CLUSTER,
    'echo "redis+sentinel://:$PASSWORD@redis-0.redis': CLUSTER,
    "cd ../overlays/example && sed -i": CLUSTER,
    "SECRET=$(cat ../../orders-api/secrets/client-reporting)": CLUSTER,
    "TOKEN=$(curl -s localhost:8080/oauth/token": CLUSTER,
    "curl -i localhost:8080/orders": CLUSTER,
    "kubectl ": CLUSTER,
    "helm install orders": CLUSTER,
    "useradd --system": SERVICE,
    "python3 -m venv /opt/auth-sidecar": SERVICE,
    "/opt/auth-sidecar/bin/sidecar init /etc/auth-sidecar": SERVICE,
    "chown -R root:auth-sidecar /etc/auth-sidecar": SERVICE,
    "install -m 0644 deploy/systemd/": SERVICE,
    "systemctl ": SERVICE,
    "journalctl -u auth-sidecar": SERVICE,
    "sudo -u auth-sidecar": SERVICE,
    "cd deploy/compose": ENGINE,
    "openssl rand -hex 32 > secrets/redis-password": ENGINE,
    'echo "redis://:$(cat secrets/redis-password)': ENGINE,
    "chmod 644 secrets/*": ENGINE,
    "docker compose up": ENGINE,
    "make help  ": OURS,
    "make unit  ": OURS,
    "make test  ": OURS,
    ".venv/bin/pytest tests/unit/proxy/test_handler.py": OURS,
    ".venv/bin/pytest tests/e2e/test_routes.py -k scope": OURS,
    "make test-faults  ": OURS,
    "make test-pythons  ": OURS,
    "make image-test  ": OURS,
    "make lock  ": OURS,
    "make lint  ": OURS,
    "make format": OURS,
    "make docs  ": OURS,
    "make bench  ": OURS,
}
"""How each command of an `sh` block begins, and why nobody types it here."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_prompt_belongs_to_a_document_that_is_typed() -> None:
    """And every one of its lines is found, wherever it stands: none is in a block that nobody reads."""
    assert {name for name in documents() if prompts(text_of(name))} == TYPED
    for name in TYPED:
        text = text_of(name)
        assert sum(not step.yaml for step in steps(text)) == prompts(text), name


def test_a_prompt_that_nobody_types_is_noticed() -> None:
    """Its own check: such a line in another block, in a list, a quotation or a comment counts as one."""
    block = "# Title\n\n```console\n$ one\n```\n"
    assert (len(steps(block)), prompts(block)) == (1, 1)
    for more in ("```\n$ two\n```\n", "- $ two\n", "> $ two\n", "    $ two\n", "```sh\n$ two\n```\n", "# $ two\n"):
        assert (len(steps(block + more)), prompts(block + more)) == (1, 2)


def test_what_is_not_typed_is_known_and_why() -> None:
    found = [command for name in documents() if name.endswith(".md") for command in unrunnable(text_of(name))]
    for command in found:
        assert sum(command.startswith(start) for start in NOT_TYPED) == 1, command
    unused = [start for start in NOT_TYPED if not any(command.startswith(start) for command in found)]
    assert not unused, "one is listed that no document has"


def test_blocks_say_what_they_are() -> None:
    """No language of a shell is there but these two. Who pastes a whole block asks nothing of what is still starting: after a
    line that starts a server come only such."""
    for name in documents():
        if name.endswith(".md"):
            found = blocks(text_of(name))
            assert {language for language, _ in found} <= {"", "console", "sh", "yaml", "promql", "mermaid"}, name
            assert not [text for _, text in found if re.search(r"^\$ .* &\n(?=.)(?!\$ .* &$)", text, re.MULTILINE)], (
                name
            )


def test_commands_within_the_text_exist() -> None:
    """`sidecar clients list` and the like."""
    named = {
        tuple(words.split())
        for name in documents()
        for words in re.findall(r"(?:`|with: |#   (?:\$ )?)sidecar((?: [a-z][a-z-]+)+)", text_of(name))
    }
    assert len(named) > 10
    for words in sorted(named):
        command: click.Command = main
        for word in words:
            assert isinstance(command, click.Group), words
            below = command.get_command(click.Context(command), word)
            assert below is not None, words
            command = below


@pytest.mark.parametrize("name", CONFIGS)
def test_the_commands_at_the_head_of_a_configuration_start_it(tmp_path: Path, name: str) -> None:
    """In a clone, with the API and the Redis that it names, and nothing else."""
    with place(tmp_path) as where, RedisServer(port=where.ports.redis), Upstream(port=where.ports.api):
        installed(where)
        for step in steps_of(name):
            where.type(step._replace(command=f"{step.command} &") if "sidecar serve" in step.command else step)
        assert where.terminal.run("jobs -r").count("sidecar serve") == 1
        assert untracked(where.clone) == []


SLOW: Final = "docs/guides/monitoring.md"
"""Its alert waits for a minute."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.faults] if name == SLOW else []) for name in GUIDES]
)
def test_a_guide_can_be_followed_in_an_empty_folder(tmp_path: Path, name: str) -> None:
    """Every command succeeds, and prints what the guide shows."""
    behind_nginx = "$ nginx" in text_of(name)
    if behind_nginx and not Path("/usr/sbin/nginx").exists():
        pytest.skip("nginx is not installed")
    with place(tmp_path) as where:
        installed(where)
        where.terminal.run("mkdir ../empty && cd ../empty")
        printed = {step.command: where.type(step).output for step in steps_of(name)}
    *_, last = [{}, *(json.loads(said) for said in printed.values() if '"received"' in said)]
    headers = dict(last["received"]["headers"]) if last else {}
    if behind_nginx:
        assert headers["X-Forwarded-For"] == "127.0.0.1, 127.0.0.1", "what the client invented is gone"
        assert headers["X-Forwarded-Proto"] == "https"
    elif headers:
        assert headers["X-Auth-Client-Id"] == "client"


def installed(where: Place) -> None:
    """As the README says."""
    for step in steps_of("README.md"):
        if step.command == INSTALL:
            where.install()
        elif "sidecar-venv" in step.command:
            where.type(step)


def untracked(clone: Path) -> list[str]:
    done = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("??")]


def test_the_container_that_the_dockerfile_starts_has_what_it_needs(tmp_path: Path) -> None:
    """No engine is needed to see that its mount, its variables and its user give it a configuration without a fault."""
    (build,) = re.findall(r"^#\s+(docker build .*)$", text_of("Dockerfile"), re.MULTILINE)
    (run,) = re.findall(r"^#\s+(docker run .*)$", text_of("Dockerfile"), re.MULTILINE)
    image = shlex.split(build)[shlex.split(build).index("--tag") + 1]
    with place(tmp_path) as where:
        installed(where)
        for step in steps_of("config/standalone.yaml"):
            if "sidecar serve" not in step.command:
                where.type(step)
        words = shlex.split(where.terminal.run(f"printf '%s\\n' {run.removeprefix('docker run')}").replace("\n", " "))
        options, command = words[: words.index(image)], words[words.index(image) + 1 :]
        assert command[:2] == ["serve", "--config"]
        source, target, mode = options[options.index("--volume") + 1].split(":")
        config = Path(source) / Path(command[2]).relative_to(target)
        assert mode == "ro"
        assert options[options.index("--user") + 1] == str(os.getuid()), "it may read what `umask 077` made"
        names = [options[number + 1] for number, word in enumerate(options) if word == "--env"]
        kept = " ".join(f'{name}="${name}"' for name in names)
        assert ": ok (" in where.terminal.run(f'env -i PATH="$PATH" {kept} sidecar check-config {config}')


def test_the_documents_say_how_far_ahead_a_token_may_be() -> None:
    figure = f"{FUTURE_TOLERANCE:g} s"
    (line,) = re.findall(r"^`not_yet_valid` says .*\n.*$", text_of("docs/reference.md"), re.MULTILINE)
    assert f"more than {figure} ahead" in line
    (comment,) = re.findall(r"^(.*)\n  leeway:", text_of("config/sidecar.example.yaml"), re.MULTILINE)
    assert f"{figure} ahead in any case" in comment


KEPT: Final = {
    "revoked": "revocations", "revocations": "revocations", "cutoffs": "revocations", "state": "revocations", "turn": "revocations",
    "family": "refresh tokens", "unused": "refresh tokens", "code": "codes", "session": "logins", "consent": "consents",
    "jti": "assertions", "throttle": "throttling",
}  # fmt: skip
"""Each kind of key in Redis, and the word that the documents have for it."""


def test_the_documents_say_all_that_redis_keeps(tmp_path: Path, shared_upstream: Upstream) -> None:
    """All of it is made here, and named in each document that says what Redis is there for."""
    pair, callback = ed_pair(), "https://app.example/cb"
    keyed = {"client_id": "keyed", "public_key": pair.public, "grant_types": ["client_credentials", "refresh_token"]}
    sections: dict[str, Any] = {"users": users(), "clients": [*clients(callback), keyed]}
    with (
        RedisServer() as redis,
        running(tmp_path, shared_upstream.url, store={"url": redis.url}, **sections) as sidecar,
    ):

        def post(path: str, **form: str) -> dict[str, Any]:
            status, text = get(f"{sidecar.public}/oauth/{path}", form)
            assert status == 200, text
            return dict(json.loads(text or "{}"))

        browser, asked = Browser(sidecar.public), code_request(callback)
        browser.log_in(asked)
        code = browser.decide(asked, remember="yes").answer["code"]
        web = {"client_id": "web", "client_secret": CLIENT_SECRET}
        given = post(
            "token", grant_type="authorization_code", code=code, redirect_uri=callback, code_verifier=VERIFIER, **web
        )
        assert get(f"{sidecar.public}/oauth/token", {**web, "client_secret": "wrong"})[0] == 401
        claims = {"iss": "keyed", "sub": "keyed", "aud": ISSUER, "exp": int(time.time()) + 60, "jti": "1"}
        post("token", grant_type="client_credentials", **parameters(sign(claims, pair.private, "EdDSA")))
        post("revoke", token=given["access_token"], **web)
        found = {key.decode().split(":")[1] for key in redis.command("KEYS", "*")}
    assert found <= KEPT.keys(), "another kind: the documents have to name it"
    words = {KEPT[kind] for kind in found}
    assert words == set(KEPT.values())
    for name in ("docs/operations.md", "deploy/k8s/README.md", "config/sidecar.example.yaml"):
        text = re.sub(r"[\s#]+", " ", text_of(name))
        said = [
            sentence for sentence in re.findall(r"[^.:]*revocations[^.:]*[.:][^.]*", text) if "throttling" in sentence
        ]
        assert said, name
        assert not [word for word in words if word not in said[0]], name


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_it_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    """From the network, with nothing of this environment: into a virtual environment, by pipx, and by `make run`."""
    with place(tmp_path) as where:
        run = where.terminal.run
        demo, check = (step for step in steps_of("README.md") if step.heading == "Try it")
        first = where.terminal.foreground(where.ports.put_into(demo.command), until="Ctrl-C stops it", within=300)
        assert (
            first.index("making a virtual environment")
            < first.index("installing the sidecar")
            < first.index("Collecting aiohttp")
        )
        where.type(check)
        assert untracked(where.clone) == []
        python = where.clone / ".venv" / "bin" / "python"
        found = run(f"{python} -c 'import importlib.util; print(importlib.util.find_spec(\"pytest\"))'")
        assert found == "None\n", "the demo needs nothing of the tests"
        run("python3 -m venv ../pipx && ../pipx/bin/pip install --quiet pipx && ../pipx/bin/pipx install .", within=300)
        assert run("~/.local/bin/sidecar --version").startswith("sidecar, version ")
        for step in steps_of("README.md"):
            if "sidecar-venv" in step.command:
                run(step.command, within=300)
        assert run("command -v sidecar").strip() == str(where.folder / "sidecar-venv" / "bin" / "sidecar")
        assert "11 of 11 steps passed" in run(
            f"sidecar demo --check --port {where.ports.public} --admin-port {where.ports.admin}"
        )
