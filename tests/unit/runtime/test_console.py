"""runtime.console: what a process knows of itself. With workers, over sockets: tests/e2e/test_console.py."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.assembly.app import App
from sidecar.config.load import load
from sidecar.config.settings import Settings
from sidecar.ops.console.history import History
from sidecar.ops.console.web import Source
from sidecar.runtime.console import alone, source_of
from sidecar.runtime.reloading import Reloader
from tests.support.certificates import Authority
from tests.support.console import Clock
from tests.support.process import configuration

TOKEN = "canary" * 8


async def is_ready() -> tuple[bool, dict[str, str]]:
    return True, {"store": "ok"}


class Office:
    """A worker alone with its file."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.path = folder / "sidecar.yaml"
        self.write(**sections)
        settings = load(self.path)
        self.app = App(settings, asyncio.get_running_loop())
        self.reloader = Reloader(settings, self._apply)
        self._sockets = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        public, admin = self._sockets
        self.source: Source = source_of(self.reloader, alone(self.app), History(Clock()), public=public, admin=admin)

    def write(self, **sections: Any) -> None:
        self.path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", **sections)))

    async def _apply(self, settings: Settings) -> None:
        self.app.use(self.app.prepare(settings))

    async def close(self) -> None:
        await self.app.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path)
    yield made
    await made.close()


async def test_a_process_alone_shows_itself(office: Office) -> None:
    facts = await office.source.facts(is_ready)
    assert (facts.wanted, len(facts.workers), facts.replaced, facts.draining) == (1, 1, {}, False)
    assert (facts.ready, facts.checks, facts.store) == (True, {"store": "ok"}, "memory://")
    assert [(key.kid, key.role) for key in facts.keys] == [("k1", "signs")]
    assert [(client.client_id, client.authentication) for client in facts.clients] == [
        ("reporting", "secret"),
        ("other", "secret"),
    ]
    assert facts.configuration.file == str(office.path)
    assert facts.configuration.tried_at is None
    assert facts.certificates == []
    assert await office.source.tallies() == {facts.pid: facts.workers[0].tally}


async def test_no_secret_is_among_the_facts(tmp_path: Path) -> None:
    clients = [{"client_id": "a", "client_secret": TOKEN}]
    office = Office(tmp_path, admin={"listen": "127.0.0.1:0", "token": TOKEN}, clients=clients)
    facts = await office.source.facts(is_ready)
    assert office.source.token() == TOKEN
    assert "canary" not in repr(facts)
    await office.close()


async def test_a_reload_shows_in_the_token_and_in_the_facts(office: Office) -> None:
    assert office.source.token() is None
    office.write(admin={"listen": "127.0.0.1:0", "token": TOKEN})
    await office.reloader.reload()
    facts = await office.source.facts(is_ready)
    assert office.source.token() == TOKEN
    assert facts.configuration.applied == ["admin.token"]
    office.write(clients="canary")
    await office.reloader.reload()
    facts = await office.source.facts(is_ready)
    assert office.source.token() == TOKEN, "the configuration that it has goes on"
    assert facts.configuration.faults == ["clients: must be a list"]
    assert facts.configuration.applied == []
    assert "canary" not in repr(facts)


async def test_certificates_are_read_from_their_files(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", "sidecar")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    office = Office(tmp_path, tls=tls)
    (found,) = (await office.source.facts(is_ready)).certificates
    assert (found.name, found.file, found.fault) == ("tls.certificate", str(pair.certificate), "")
    assert found.not_after is not None
    await office.close()


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server", "sidecar")
    office = Office(tmp_path, tls={"certificate": str(pair.certificate), "key": str(pair.key)})
    pair.certificate.unlink()
    (found,) = (await office.source.facts(is_ready)).certificates
    assert (found.not_after, found.fault) == (None, "cannot be read as certificates")
    await office.close()


async def test_a_drain_shows(office: Office) -> None:
    assert not office.source.draining()
    office.app.connections.draining = True
    assert office.source.draining()
    assert (await office.source.facts(is_ready)).draining


async def test_a_look_works_out_nothing_again_about_clients_that_have_not_changed(office: Office) -> None:
    first = await office.source.facts(is_ready)
    office.app.recent.used[first.clients[0].client_id] = 7.0
    second = await office.source.facts(is_ready)
    assert [each.client_id for each in second.clients] == [each.client_id for each in first.clients]
    assert (second.clients[0].used, second.clients[1].used) == (7.0, None)
    assert second.clients[1] is first.clients[1]
