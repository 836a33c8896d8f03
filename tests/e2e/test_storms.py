"""Throttling between real processes: who guesses has to wait, and nobody else does."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.process import Sidecar, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

CLIENTS = [
    {"client_id": "weak", "client_secret": "weak-secret", "introspect": True},
    {"client_id": "strong", "client_secret": "s" * 32},
]


def post(
    sidecar: Sidecar, client: str, secret: str, *, sender: str = "10.1.1.1", path: str = "token"
) -> tuple[int, dict[str, Any], int]:
    """Status, body and `Retry-After`, for a request that a proxy had from `sender`."""
    form = {"client_id": client, "client_secret": secret, "grant_type": "client_credentials", "token": "x"}
    request = urllib.request.Request(f"{sidecar.public}/oauth/{path}", urlencode(form).encode())
    request.add_header("X-Forwarded-For", f"6.6.6.6, {sender}")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read() or b"{}"), 0
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read()), int(exc.headers.get("Retry-After", 0))


def status(*asked: Any, **named: Any) -> int:
    return post(*asked, **named)[0]


@contextlib.contextmanager
def fleet(folder: Path, upstream: Upstream, url: str, count: int, **throttling: str) -> Iterator[list[Sidecar]]:
    store = {"url": url, "timeout": "500ms"} if url.startswith("redis") else {"url": url}
    with contextlib.ExitStack() as stack:
        sidecars = []
        for number in range(count):
            (folder / str(number)).mkdir()
            sidecars.append(
                stack.enter_context(
                    running(
                        folder / str(number), upstream.url, store=store, clients=CLIENTS,
                        trusted_proxies=["127.0.0.1"], throttling=throttling,
                    )
                )
            )  # fmt: skip
        yield sidecars


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_storm_is_stopped_and_locks_nobody_out(tmp_path: Path, upstream: Upstream, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(RedisServer()).url if kind == "redis" else "memory://"
        sidecars = stack.enter_context(fleet(tmp_path, upstream, url, 2 if kind == "redis" else 1))
        storm = [post(sidecars[number % len(sidecars)], "weak", "wrong") for number in range(60)]
        assert [answer[0] for answer in storm[:30]] == [401] * 30
        refused = storm[-1]
        assert (refused[0], refused[1]["error"], refused[1]["reason"]) == (429, "temporarily_unavailable", "throttled")
        assert 1 <= refused[2] <= 2
        for sidecar in sidecars:
            assert status(sidecar, "weak", "weak-secret", sender="10.1.1.2") == 200
            assert status(sidecar, "weak", "weak-secret", sender="10.1.1.2", path="introspect") == 200
            assert status(sidecar, "strong", "s" * 32) == 200, "whose secret cannot be guessed"
            assert sidecar.metric("sidecar_auth_failures_total", plane="token", reason="throttled") > 0
        assert post(sidecars[0], "weak", "wrong")[0] in (401, 429)


def test_a_storm_while_redis_is_down_is_stopped_by_each_process(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as server, fleet(tmp_path, upstream, server.url, 1) as (sidecar,):
        server.kill()
        said = [status(sidecar, "weak", "wrong") for _ in range(60)]
        assert said[:30] == [401] * 30
        assert said[-1] == 429
        assert status(sidecar, "weak", "weak-secret", sender="10.1.1.2") == 200, "issuing needs no store"


def test_all_requests_of_a_client_can_be_limited(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as server, fleet(tmp_path, upstream, server.url, 2, requests_per_client="10/1h") as sidecars:
        said = [post(sidecars[number % 2], "strong", "s" * 32) for number in range(12)]
        assert [answer[0] for answer in said] == [200] * 10 + [429] * 2
        assert 300 < said[-1][2] <= 360
        assert status(sidecars[0], "weak", "weak-secret") == 200


def test_many_good_requests_cost_redis_nothing(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as server, fleet(tmp_path, upstream, server.url, 1) as (sidecar,):
        before = server.calls().get("set", 0)
        assert {status(sidecar, "strong", "s" * 32) for _ in range(200)} == {200}
        assert server.calls().get("set", 0) == before


def test_nothing_that_was_sent_stands_in_redis(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as server, fleet(tmp_path, upstream, server.url, 1) as (sidecar,):
        status(sidecar, "canary-client", "canary-secret")
        held = repr([(key, server.command("TYPE", key)) for key in server.command("KEYS", "*")])
        assert held.count("throttle:client:") == 3
        assert "canary" not in held
        assert "10.1.1.1" not in held
