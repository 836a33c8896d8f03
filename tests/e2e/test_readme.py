"""The README's commands, pasted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from tests.support.people import Browser
from tests.support.process import Sidecar, configuration, running
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
        elif found and found[-1].endswith("\\"):
            found[-1] += "\n" + line
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
    by_client, by_operator, of_client, of_subject = (command.partition("     #")[0] for command in commands("Revoking"))
    assert run(at(by_client, sidecar), folder, TOKEN=token) == ""
    assert run(call, folder) == "401"
    (folder / "token.txt").write_text(json.loads(run(at(get, sidecar), folder))["access_token"])
    assert "revoked" in run(by_operator, folder)
    assert "issued to reporting until" in run(of_client, folder)
    assert "in the name of anna until 2026-11-24 08:30:00 UTC" in run(of_subject, folder)


def test_a_token_is_refreshed_and_asked_about(tmp_path: Path, shared_upstream: Upstream) -> None:
    shown = re.search(r"### Refresh tokens\n.*?```yaml\n(clients:.*?)```", README, re.DOTALL)
    assert shown
    make, begin, pick, refresh = commands("Refresh tokens")
    run("openssl rand -hex 32 > reporting-secret", tmp_path)
    run(make, tmp_path)
    with running(tmp_path, shared_upstream.url, clients=yaml.safe_load(shown[1])["clients"]) as sidecar:
        first, second = map(json.loads, shell([at(begin, sidecar), pick, at(refresh, sidecar)], tmp_path))
        assert second["scope"] == "orders:read"
        assert second["refresh_token"] != first["refresh_token"]
        (ask,) = commands("Introspection")
        said = json.loads(run(at(ask, sidecar), tmp_path, TOKEN=first["access_token"]))
        example = re.search(r'^\{"active": true.*?, …\}$', README, re.MULTILINE)
        assert example
        assert json.loads(example[0].replace(", …", "")).items() <= said.items()
        assert json.loads(run(at(ask, sidecar), tmp_path, TOKEN=first["refresh_token"])) == {"active": False}
        assert (
            json.loads(run(at(ask, sidecar), tmp_path, TOKEN=second["refresh_token"]))["token_use"] == "refresh_token"
        )


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


def test_a_client_authenticates_by_a_key(tmp_path: Path, shared_upstream: Upstream) -> None:
    *make, sign, ask = commands("Client authentication")
    for command in make:
        run(command, tmp_path)
    shown = re.search(r"```yaml\n(clients:.*?)```", README, re.DOTALL)
    assert shown
    document = configuration(shared_upstream.url, clients=yaml.safe_load(shown[1])["clients"])
    document["tokens"]["issuer"] = "https://api.example.com"
    with Sidecar(tmp_path, document) as sidecar:
        run(sign, tmp_path)
        assert json.loads(run(at(ask, sidecar), tmp_path))["scope"] == "orders:read"
        assert json.loads(run(at(ask, sidecar), tmp_path))["error"] == "invalid_client", "an assertion is taken once"
    config = str(tmp_path / "sidecar.yaml")
    assert "warehouse: private_key_jwt" in run(f"sidecar clients list --config {config}", tmp_path)
    assert "keys: EdDSA" in run(f"sidecar clients show warehouse --config {config}", tmp_path)
    assert "client_secret_hash: sha256$" in run("sidecar clients new-secret", tmp_path)


def shell(lines: list[str], folder: Path, **env: str) -> list[str]:
    """Some commands of one shell; the lines that they print."""
    return run("\n".join(lines), folder, **env).splitlines()


@pytest.fixture(scope="module")
def login_place(
    tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[tuple[Path, Sidecar, str]]:
    """The sidecar of `config/login.yaml`, on a free port, and anna's password."""
    folder = tmp_path_factory.mktemp("login")
    (folder / "config").mkdir()
    text = (Path(__file__).parents[2] / "config" / "login.yaml").read_text()
    text = text.replace("listen: 127.0.0.1:3030", "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}")
    (folder / "config" / "login.yaml").write_text(text.replace("http://127.0.0.1:3080", shared_upstream.url))
    *prepare, serve = commands("Authorization code")[:4]
    assert serve == "sidecar serve --config config/login.yaml &"
    password, made = shell([*prepare, "echo $ANNA_HASH"], folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANNA_HASH", made)
        with Sidecar(folder, folder / "config" / "login.yaml") as sidecar:
            yield folder, sidecar.ready(), password


def agree(sidecar: Sidecar, link: str, password: str) -> dict[str, str]:
    """Open a link, log in, agree: what the client gets."""
    browser, parameters = Browser(sidecar.public), dict(parse_qsl(urlsplit(link).query))
    browser.log_in(parameters, password=password)
    page = browser.decide(parameters)
    assert page.location.startswith(parameters["redirect_uri"])
    return page.answer


def test_a_person_gives_a_client_a_code(login_place: tuple[Path, Sidecar, str]) -> None:
    folder, sidecar, password = login_place
    verifier, challenge, link, read, redeem = commands("Authorization code")[4:]
    assert read == 'read -p "code: " CODE'
    link, made = shell([verifier, challenge, link, "echo $VERIFIER"], folder)
    answer = agree(sidecar, link, password)
    given = json.loads(run(at(redeem, sidecar), folder, CODE=answer["code"], VERIFIER=made))
    assert given.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}


def test_a_person_gives_a_client_a_token(login_place: tuple[Path, Sidecar, str]) -> None:
    folder, sidecar, password = login_place
    (link,) = shell(commands("Implicit"), folder)
    assert agree(sidecar, link, password).keys() == {
        "access_token",
        "token_type",
        "expires_in",
        "scope",
        "state",
        "iss",
    }


def test_a_password_is_hashed(tmp_path: Path) -> None:
    *_, made = shell(commands("Users and the login page"), tmp_path)
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
