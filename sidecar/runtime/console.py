"""Gathers what the console shows, in the process that owns the admin listener: a single worker, or the parent of several."""

import asyncio
import os
import platform
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from sidecar import __version__
from sidecar.assembly.app import App, log_failure
from sidecar.assembly.expiries import expiry_of
from sidecar.assembly.facts import tally, worker_facts
from sidecar.assembly.keys import key_ring
from sidecar.config.masked import masked, masked_store
from sidecar.config.settings import Client, Settings
from sidecar.core.jose.keys import KeyRing
from sidecar.core.store_address import read_store_address
from sidecar.ops.console.facts import (
    CertificateFacts,
    ClientFacts,
    ConfigurationFacts,
    Facts,
    KeyFacts,
    Setting,
    Tally,
    WorkerFacts,
    together,
)
from sidecar.ops.console.history import History
from sidecar.ops.console.web import Ready, Source
from sidecar.runtime.reloading import Reloader
from sidecar.runtime.sockets import url_of

_CERTIFICATES_FOR: Final = 30.0  # seconds between two looks at the files


class Crew(NamedTuple):
    """The workers of a process: `facts` and `tallies` ask them, `wanted` is how many there should be, `replaced` how many ended
    by cause, `cannot_start` why the last one could not start, and `draining` whether the process is about to go."""

    facts: Callable[[], Awaitable[Sequence[WorkerFacts]]]
    tallies: Callable[[], Awaitable[Mapping[int, Tally]]]
    draining: Callable[[], bool]
    wanted: int = 1
    replaced: Callable[[], Mapping[str, int]] = dict
    cannot_start: Callable[[], str | None] = lambda: None


def source_of(
    reloader: Reloader, crew: Crew, history: History, *, public: socket.socket, admin: socket.socket
) -> Source:
    """What the console needs. `public` and `admin` are the listening sockets."""
    office = _Office(reloader, crew, public, admin)
    return Source(
        office.facts,
        crew.tallies,
        lambda: _token(reloader.settings),
        crew.draining,
        lambda defect: log_failure("console", defect),
        history,
    )


def alone(app: App) -> Crew:
    """The crew of a single worker, in its own process."""

    async def facts() -> list[WorkerFacts]:
        return [worker_facts(app)]

    async def tallies() -> dict[int, Tally]:
        return {os.getpid(): tally(app)}

    return Crew(facts, tallies, lambda: app.connections.draining)


class _Known(NamedTuple):
    """What follows from the settings alone, worked out once: there may be many clients."""

    settings: Settings
    sections: dict[str, list[Setting]]
    ring: KeyRing
    clients: dict[str, ClientFacts]


class _Office:
    """Puts together what the process knows itself and what its workers say."""

    def __init__(self, reloader: Reloader, crew: Crew, public: socket.socket, admin: socket.socket) -> None:
        self._reloader = reloader
        self._crew = crew
        # Now, because the process closes the sockets before it ends.
        self._plain, self._secure = url_of(public), url_of(public, secure=True)
        self._admin = url_of(admin)
        self._began = time.time()
        self._used: dict[str, float] = {}  # kept for workers that have ended
        self._known: _Known | None = None
        self._certificates: tuple[Settings, float, list[CertificateFacts]] | None = None

    async def facts(self, ready: Ready) -> Facts:
        """Everything. A worker that does not answer is waited for once."""
        (good, checks), given = await asyncio.gather(ready(), self._crew.facts())
        settings, now, workers = self._reloader.settings, time.time(), list(given)
        for worker in workers:
            self._used = together(self._used, worker.used)
        _, sections, ring, clients = self._of(settings)
        self._used = {name: at for name, at in self._used.items() if name in clients}
        used = {name: replace(clients[name], used=at) for name, at in self._used.items()}
        return Facts(
            now=now,
            version=__version__,
            python=platform.python_version(),
            host=socket.gethostname(),
            pid=os.getpid(),
            since=self._began,
            public=self._plain if settings.tls is None else self._secure,
            admin=self._admin,
            draining=self._crew.draining(),
            ready=good,
            checks=dict(checks),
            wanted=self._crew.wanted,
            replaced=dict(self._crew.replaced()),
            cannot_start=self._crew.cannot_start() or "",
            store=masked_store(settings),
            max_staleness=settings.store.max_staleness,
            configuration=self._configuration(sections),
            keys=[KeyFacts(key.kid, key.alg, ring.role(key, now).value, *key.window) for key in ring],
            keys_lapsed=ring.lapsed(now),
            certificates=await self._certificate_facts(settings),
            clients=list({**clients, **used}.values()),
            workers=workers,
        )

    def _of(self, settings: Settings) -> _Known:
        if self._known is None or self._known.settings is not settings:
            sections = {
                name: [Setting(value.path, value.text, value.changed) for value in values]
                for name, values in masked(settings).items()
            }
            clients = {each.client_id: _client(each) for each in settings.clients}
            self._known = _Known(settings, sections, key_ring(settings.tokens), clients)
        return self._known

    def _configuration(self, sections: dict[str, list[Setting]]) -> ConfigurationFacts:
        known, last = self._reloader.configuration, self._reloader.last
        tried_at, result = (None, None) if last is None else last
        path = self._reloader.settings.path
        return ConfigurationFacts(
            file=str(path) if path is not None else "none",
            digest=f"{known.digest:012x}" if known.digest else "none",
            read_at=known.at,
            tried_at=tried_at,
            faults=list(result.faults) if result else [],
            applied=list(result.applied) if result else [],
            at_restart=list(result.at_restart) if result else [],
            sections=sections,
        )

    async def _certificate_facts(self, settings: Settings) -> list[CertificateFacts]:
        now = time.monotonic()
        if self._certificates is None or self._certificates[0] is not settings or now > self._certificates[1]:
            found = await asyncio.to_thread(lambda: [_certificate(*each) for each in _files(settings)])
            self._certificates = settings, now + _CERTIFICATES_FOR, found
        return self._certificates[2]


def _token(settings: Settings) -> str | None:
    token = settings.admin.token
    return None if token is None else token.get_secret_value()


def _client(client: Client) -> ClientFacts:
    method = client.token_endpoint_auth_method
    ways = []
    if client.client_secret or client.client_secret_hash or client.client_secret_hashes:
        ways.append("secret")
    if client.public_key or client.jwks:
        ways.append("key")
    return ClientFacts(
        client_id=client.client_id,
        name=client.client_name or "",
        grants=", ".join(client.grant_types),
        authentication=method or " or ".join(ways) or "none",
        disabled=client.disabled,
        used=None,
    )


def _files(settings: Settings) -> list[tuple[str, Path, bool]]:
    """The files with certificates: name, path, and whether one valid certificate in it is enough, as in a list of CAs."""
    options = read_store_address(settings.store.url.get_secret_value()).options
    tls, api = settings.tls, settings.upstream.tls
    found = [
        ("tls.certificate", tls.certificate if tls else None, False),
        ("tls.client_ca", tls.client_ca if tls else None, True),
        ("upstream.tls.certificate", api.certificate, False),
        ("upstream.tls.ca", api.ca, True),
        ("ssl_certfile of store.url", options.get("ssl_certfile"), False),
        ("ssl_ca_certs of store.url", options.get("ssl_ca_certs"), True),
    ]
    return [(name, Path(path), any_of) for name, path, any_of in found if path is not None]


def _certificate(name: str, path: Path, any_of: bool) -> CertificateFacts:  # noqa: FBT001  as `_files` gives it
    expiry = expiry_of(path, any_of=any_of)
    return CertificateFacts(name, str(path), expiry, "cannot be read as certificates" if expiry is None else "")
