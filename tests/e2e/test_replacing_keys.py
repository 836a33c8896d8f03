"""Keys are replaced in a worker that serves: the real parts over real sockets, in this process, with a clock of our own."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import requests
import yaml

from sidecar.assembly.app import App
from sidecar.config.load import load
from sidecar.config.settings import Address
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.core.reasons import Reason
from sidecar.runtime.sockets import bind, url_of
from tests.support.keys import PEMS
from tests.support.process import AUDIENCE, ISSUER, configuration
from tests.support.upstream import Upstream

NOW = 1_800_000_000.0
OLD, NEW = SigningKey.hmac("old", "HS256", "k" * 32), SigningKey.private("new", "ES256", PEMS["ES256"])


class Serving:
    """An app that serves at `url`, and sets `now` itself."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.url = url
        self.now = NOW

    def issue(self) -> str:
        rules = self.app.rules
        who = {"client_id": "reporting", "subject": "reporting"}
        return rules.issue(**who, roles=(), scope=("orders:read",), now=self.now, jti="j")[0]

    async def call(self, token: str) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {token}"}
        response = await asyncio.to_thread(requests.get, f"{self.url}/orders", headers=headers, timeout=10)
        return response.status_code, response.json().get("reason")


@pytest.fixture
async def serving(tmp_path: Path, shared_upstream: Upstream) -> AsyncIterator[Serving]:
    keys = [{"kid": "old", "alg": "HS256", "secret": "k" * 32}]
    tokens = {"issuer": ISSUER, "audience": AUDIENCE, "signing_keys": keys}
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(shared_upstream.url, tokens=tokens)))
    made: list[Serving] = []
    app = App(load(path), asyncio.get_running_loop(), now=lambda: made[0].now if made else NOW)
    sock = bind(Address("127.0.0.1", 0))
    made.append(Serving(app, url_of(sock)))
    acceptor = app.acceptor(sock, None)
    acceptor.start()
    feed = asyncio.get_running_loop().create_task(app.store.follow(app.view))
    yield made[0]
    acceptor.close()
    feed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feed
    await app.listener.drain(5)
    await app.close()


async def test_a_remembered_token_does_not_outlive_its_key(serving: Serving) -> None:
    app, token = serving.app, serving.issue()
    assert await serving.call(token) == (200, None)
    assert len(app.cache) == 1
    verified = app.cache.get(token)
    assert verified
    app.use_keys(KeyRing([NEW, OLD]))
    assert await serving.call(token) == (200, None)
    by_new = serving.issue()
    app.use_keys(KeyRing([NEW]))
    assert len(app.cache) == 0
    assert await serving.call(token) == (401, "unknown_key")
    assert await serving.call(by_new) == (200, None)
    # What streams with it ends, too.
    assert app.listener._gateway.lapsed(verified) is Reason.UNKNOWN_KEY
    published = await asyncio.to_thread(requests.get, f"{serving.url}/oauth/jwks", timeout=10)
    assert [key["kid"] for key in published.json()["keys"]] == ["new"]


async def test_the_signer_follows_the_clock_and_the_operator_hears_of_it(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """When no window is left, issuing goes on, and the log says so."""
    caplog.set_level(logging.INFO, "sidecar")
    app = serving.app
    first = SigningKey.hmac("old", "HS256", "k" * 32, Window(None, NOW + 10))
    app.use_keys(KeyRing([first, SigningKey.private("new", "ES256", PEMS["ES256"], Window(None, NOW + 20))]))
    signers, events = [], []
    for serving.now in (NOW, NOW + 10, NOW + 20):
        token = serving.issue()
        signers.append(jwt.get_unverified_header(token)["kid"])
        assert await serving.call(token) == (200, None)
        caplog.clear()
        app.key_watch.check(app.monotonic())
        events.append([record.msg for record in caplog.records])
    assert signers == ["old", "new", "new"]
    assert events == [[], ["signing_key_changed"], ["signing_keys_lapsed"]]
