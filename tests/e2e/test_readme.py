"""The README and the documents that continue it, typed from top to bottom into one terminal."""

import json
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.support.documents import ROOT
from tests.support.people import Browser
from tests.support.process import get
from tests.support.walk import INSTALL, WALK, Place, Ran, place, steps_of

REFERENCE = (ROOT / "docs/reference.md").read_text()
STEPS = [step for name in WALK for step in steps_of(name)]
LAST = "Changing the configuration"


class Reader:
    """Does the steps of the documents in order, each once, as far as a test needs."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self._steps = STEPS
        self.ran: list[Ran] = []

    def read(self, heading: str) -> list[Ran]:
        """Everything up to the end of a section; what was done in that section."""
        last = max(number for number, step in enumerate(self._steps) if step.heading == heading)
        for step in self._steps[len(self.ran) : last + 1]:
            if step.command == INSTALL:
                self.place.install()
                self.ran.append(Ran(step, ""))
            else:
                typed = self._code() if step.command.startswith("read -p") else ""
                self.ran.append(self.place.type(step, typed))
        return [each for each in self.ran if each.step.heading == heading]

    def printed(self, command: str) -> str:
        """By the last command that begins like this."""
        return next(each.output for each in reversed(self.ran) if each.step.command.startswith(command))

    def agree(self, link: str) -> dict[str, str]:
        """Open a link, log in, agree: what the client gets."""
        password = self.printed("openssl rand -hex 12 | tee").strip()
        browser, parameters = Browser(self.place.public), dict(parse_qsl(urlsplit(link.strip()).query))
        browser.log_in(parameters, password=password)
        page = browser.decide(parameters)
        assert page.location.startswith(parameters["redirect_uri"])
        return page.answer

    def _code(self) -> str:
        return self.agree(self.printed("echo"))["code"] + "\n"

    def status(self, token: str) -> int:
        return get(f"{self.place.public}/orders", Authorization=f"Bearer {token}")[0]

    def value(self, name: str) -> str:
        """Of a variable of the reader's shell."""
        return self.place.terminal.run(f'echo "${name}"').strip()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with place(tmp_path_factory.mktemp("readme")) as where:
        where.install_for_make()
        yield Reader(where)


def test_the_demo_runs_from_a_clone(reader: Reader) -> None:
    demo, check = reader.read("Try it")
    assert demo.output.count("curl ") == 11
    assert "11 of 11 steps passed" in check.output


def test_the_sidecar_is_set_up_beside_the_clone(reader: Reader) -> None:
    reader.read("Use it")
    folder = reader.place.folder / "orders"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "sidecar.yaml": 0o600, "signing-key": 0o600, "reporting-secret": 0o600,
    }  # fmt: skip


def test_a_token_is_got_and_used(reader: Reader) -> None:
    first, *_, call = reader.read("Getting a token")
    assert json.loads(first.output).keys() == json.loads(first.step.shown[0]).keys()
    assert [order["id"] for order in json.loads(call.output)["orders"]] == [1, 2]
    seen = dict(json.loads(call.output)["received"]["headers"])
    assert seen["X-Auth-Client-Id"] == "reporting"


def test_the_refusal_is_the_one_that_is_shown(reader: Reader) -> None:
    (call,) = reader.read("What a refusal looks like")
    assert len(call.step.shown) == 4


def test_a_client_authenticates_by_a_key(reader: Reader) -> None:
    *_, ask = reader.read("Client authentication")
    assert json.loads(ask.output)["scope"] == "orders:read"
    again = reader.place.terminal.run(reader.place.ports.put_into(ask.step.command))
    assert json.loads(again)["error"] == "invalid_client", "an assertion is taken once"
    run = reader.place.terminal.run
    assert "warehouse: private_key_jwt" in run("sidecar clients list --config sidecar.yaml")
    assert "keys: EdDSA" in run("sidecar clients show warehouse --config sidecar.yaml")
    assert "client_secret_hash: sha256$" in run("sidecar clients new-secret")


def test_a_token_in_two_places_is_one_token(reader: Reader) -> None:
    (call,) = reader.read("Calling the API")
    assert call.output == "200\n"
    two = f"{reader.place.public}/orders?access_token=another"
    assert json.loads(get(two, Authorization=f"Bearer {reader.value('TOKEN')}")[1])["reason"] == "multiple_tokens"


def test_a_token_is_refreshed_and_asked_about(reader: Reader) -> None:
    *_, begin, _pick, refresh = reader.read("Refresh tokens")
    first, second = json.loads(begin.output), json.loads(refresh.output)
    assert second["scope"] == "orders:read"
    assert second["refresh_token"] != first["refresh_token"]
    (ask,) = reader.read("Introspection")
    assert json.loads(ask.output)["active"]
    command = reader.place.ports.put_into(ask.step.command)

    def about(token: str) -> dict[str, object]:
        said: dict[str, object] = json.loads(reader.place.terminal.run(f"(TOKEN={token}; {command})"))
        return said

    assert about(first["access_token"])["active"] is True
    assert about(first["refresh_token"]) == {"active": False}
    assert about(second["refresh_token"])["token_use"] == "refresh_token"


def test_a_client_ends_its_own_token(reader: Reader) -> None:
    reader.read("Introspection")
    assert reader.status(reader.value("TOKEN")) == 200
    (by_client,) = reader.read("Revoking")
    assert by_client.output == ""
    assert reader.status(reader.value("TOKEN")) == 401


def test_metadata_and_keys_are_published(reader: Reader) -> None:
    metadata, keys = (json.loads(each.output) for each in reader.read("Metadata and JWKS"))
    assert metadata["token_endpoint"] == "https://api.example.com/oauth/token"
    assert keys == {"keys": []}


def test_a_password_is_hashed(reader: Reader) -> None:
    *_, made = reader.read("Users and the login page")
    assert made.output.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


def test_a_person_gives_a_client_a_code(reader: Reader) -> None:
    *_, redeem = reader.read("Authorization code")
    given = json.loads(redeem.output)
    assert given.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}


def test_a_person_gives_a_client_a_token(reader: Reader) -> None:
    (link,) = reader.read("Implicit")
    assert reader.agree(link.output).keys() == {"access_token", "token_type", "expires_in", "scope", "state", "iss"}


def test_tokens_are_revoked_by_the_operator(reader: Reader) -> None:
    *_, by_operator, of_client, of_subject = reader.read("Revoking tokens")
    assert "revoked" in by_operator.output
    assert "issued to reporting until" in of_client.output
    assert "in the name of anna until 2026-11-24 08:30:00 UTC" in of_subject.output
    assert reader.status((reader.place.folder / "orders" / "token.txt").read_text().strip()) == 401


def test_a_client_ends_its_own_token_in_redis(reader: Reader) -> None:
    """By the command of the documents, with a token that is good at that moment."""
    reader.read("Revoking tokens")
    (by_client,) = reader.read("Revoking")
    run, ports = reader.place.terminal.run, reader.place.ports
    token = run("get_token").strip()
    while reader.status(token) != 200:  # --client ended all that was issued in this second
        token = run("get_token").strip()
    assert run(f"(TOKEN={token}; {ports.put_into(by_client.step.command)})") == ""
    assert reader.status(token) == 401


def test_a_key_is_made_and_listed(reader: Reader) -> None:
    for each in reader.read("Keys"):
        assert each.output.splitlines() == list(each.step.shown)
    assert (reader.place.folder / "orders" / "2026-12.pem").stat().st_mode & 0o777 == 0o600


def test_the_configuration_changes_while_the_sidecar_runs(reader: Reader) -> None:
    *_, reload = reader.read("Changing the configuration")
    assert reload.output == reload.step.shown[0] + "\n", "also when it had noticed the change by itself"
    assert "sidecar_config_last_reload_successful 1.0" in get(f"{reader.place.admin}/metrics")[1]


def test_every_metric_that_is_named_is_there(reader: Reader) -> None:
    reader.read(LAST)
    named = set(re.findall(r"`(sidecar_[a-z_]+)", REFERENCE))
    families = set(re.findall(r"^# TYPE (\S+)", get(f"{reader.place.admin}/metrics")[1], re.MULTILINE))
    assert {name for name in families if name.startswith("sidecar_")} == named


def test_every_step_was_done_and_git_sees_no_secret(reader: Reader) -> None:
    """Neither as something to add nor as something that changed, once the last section is done."""
    reader.read(LAST)
    assert [each.step for each in reader.ran] == STEPS
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=reader.place.clone, capture_output=True, text=True, check=True
    )
    untracked = [line for line in status.stdout.splitlines() if line.startswith("??")]
    assert untracked == []
