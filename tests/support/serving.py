"""A worker's parts over real sockets in this process, with a clock that the test moves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from sidecar.assembly.app import App
from sidecar.config.load import load
from sidecar.config.settings import Settings, SigningKey
from sidecar.runtime.sockets import Address, bind, url_of
from tests.support.process import AUDIENCE, ISSUER, configuration

NOW = 1_800_000_000.0


class Serving:
    """An app that serves at `url`. The test sets `now` (epoch seconds) and `moment` (monotonic seconds)."""

    def __init__(self, settings: Settings) -> None:
        self.now = NOW
        self.passed = 0.0
        loop = asyncio.get_running_loop()
        self.app = App(settings, loop, now=lambda: self.now, monotonic=lambda: loop.time() + self.passed)
        self.url = ""

    def issue(self, **claims: Any) -> str:
        """A token as the keys in force sign it."""
        asked = {"client_id": "reporting", "subject": "reporting", "scope": ("orders:read",), "jti": "j", **claims}
        return self.app.rules.tokens.issue(**asked, roles=(), now=self.now)[0]

    async def call(self, token: str | None, path: str = "/orders", **how: Any) -> tuple[int, str | None]:
        """Status and reason of a request on a connection of its own."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        ask = how.pop("session", requests).request
        response = await asyncio.to_thread(
            ask, how.pop("method", "GET"), self.url + path, headers=headers, timeout=10, **how
        )
        return response.status_code, response.json().get("reason")

    def use(self, **sections: Any) -> None:
        """Decide by these sections from now on."""
        self.app.use(self.app.prepare(self.app.settings.model_copy(update=sections)))

    def use_keys(self, *keys: dict[str, Any]) -> None:
        """Sign and verify by these keys from now on."""
        made = tuple(SigningKey.model_validate(key) for key in keys)
        self.use(tokens=self.app.settings.tokens.model_copy(update={"signing_keys": made}))


@asynccontextmanager
async def serving(folder: Path, upstream: str, **sections: Any) -> AsyncIterator[Serving]:
    """Serve with a store in memory, and keys `old` alone."""
    keys = [{"kid": "old", "alg": "HS256", "secret": "k" * 32}]
    tokens = {"issuer": ISSUER, "audience": AUDIENCE, "signing_keys": keys}
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(upstream, **{"tokens": tokens, **sections})))
    made = Serving(load(path))
    sock = bind(Address("127.0.0.1", 0))
    made.url = url_of(sock)
    acceptor = made.app.acceptor(sock)
    acceptor.start()
    feed = asyncio.get_running_loop().create_task(made.app.store.follow(made.app.view))
    try:
        yield made
    finally:
        acceptor.close()
        feed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feed
        await made.app.connections.drain(5)
        await made.app.close()
