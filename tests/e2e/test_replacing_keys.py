"""Keys are replaced in a worker that serves."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.support.keys import PEMS
from tests.support.serving import NOW, Serving, serving
from tests.support.upstream import Upstream

OLD: dict[str, Any] = {"kid": "old", "alg": "HS256", "secret": "k" * 32}
NEW: dict[str, Any] = {"kid": "new", "alg": "ES256", "private_key": PEMS["ES256"]}


def until(seconds: float) -> str:
    """A moment so many seconds after `NOW`, as the configuration writes it (1_800_000_000 is 2027-01-15T08:00:00Z)."""
    return f"2027-01-15T08:00:{int(seconds):02}Z"


@pytest.fixture
async def served(tmp_path: Path, shared_upstream: Upstream) -> AsyncIterator[Serving]:
    async with serving(tmp_path, shared_upstream.url) as made:
        yield made


async def test_a_remembered_token_does_not_outlive_its_key(served: Serving) -> None:
    app, token = served.app, served.issue()
    assert await served.call(token) == (200, None)
    assert len(app.rules.cache) == 1
    served.use_keys(NEW, OLD)
    assert await served.call(token) == (200, None)
    by_new = served.issue()
    served.use_keys(NEW)
    assert len(app.rules.cache) == 0
    assert await served.call(token) == (401, "unknown_key")
    assert await served.call(by_new) == (200, None)
    published = await asyncio.to_thread(requests.get, f"{served.url}/oauth/jwks", timeout=10)
    assert [key["kid"] for key in published.json()["keys"]] == ["new"]


async def test_the_signer_follows_the_clock_and_the_operator_hears_of_it(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """When no window is left, issuing goes on, and the log says so."""
    caplog.set_level(logging.INFO, "sidecar")
    app = served.app
    served.use_keys({**OLD, "not_after": until(10)}, {**NEW, "not_after": until(20)})
    signers, events = [], []
    for served.now in (NOW, NOW + 10, NOW + 20):
        token = served.issue()
        signers.append(jwt.get_unverified_header(token)["kid"])
        assert await served.call(token) == (200, None)
        caplog.clear()
        app.key_watch.check(app.monotonic())
        events.append([record.msg for record in caplog.records])
    assert signers == ["old", "new", "new"]
    assert events == [[], ["signing_key_changed"], ["signing_keys_lapsed"]]
