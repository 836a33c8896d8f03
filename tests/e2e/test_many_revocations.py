"""Many revocations, and storms of them: they stop no start and no request, and leave when they have ended."""

import secrets
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.process import SECRET, Sidecar, configuration, get, running
from tests.support.redis import RedisServer
from tests.support.storm import storm
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

COUNT = 200_000
REVOKED = "{sidecar}:revoked"


def fill(server: RedisServer) -> None:
    """As many with ends from now on, so that some are forgotten all the while."""
    now = int(time.time())
    client = server.client()
    for start in range(0, COUNT, 10_000):
        pairs = [each for n in range(start, start + 10_000) for each in (now + 20 + n % 3600, f"jti-{n:016d}")]
        client.execute_command("ZADD", REVOKED, *pairs)
    client.close()


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_go_on_beside_a_purge_and_a_loss(tmp_path: Path, workers: int) -> None:
    with RedisServer() as server, Upstream() as upstream:
        fill(server)
        store = {"url": server.url}
        with running(tmp_path, upstream.url, store=store, workers=workers) as sidecar:
            assert sidecar.metric("sidecar_revocations") == COUNT
            token, revoked = sidecar.token(), sidecar.token()
            form = {"client_id": "reporting", "client_secret": SECRET, "token": revoked}
            assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
            codes: Counter[int] = Counter()
            stop = threading.Event()

            def ask() -> None:
                while not stop.is_set():
                    codes[get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0]] += 1

            thread = threading.Thread(target=ask)
            thread.start()
            try:
                wait_until(lambda: sidecar.metric("sidecar_revocations") < COUNT - 500, within=60)
                server.command("FLUSHALL")
                wait_until(lambda: server.command("ZCARD", REVOKED) > COUNT * 0.9, within=120)
                wait_until(lambda: not server.command("HEXISTS", "{sidecar}:state", "open"), within=60)
            finally:
                stop.set()
                thread.join()
            assert set(codes) == {200}
            assert get(f"{sidecar.public}/x", Authorization=f"Bearer {revoked}")[0] == 401
            assert server.command("ZCARD", REVOKED) > COUNT * 0.9


def revoke(sidecar: Sidecar, token: str) -> None:
    form = {"client_id": "reporting", "client_secret": SECRET, "token": token}
    assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200


def status(sidecar: Sidecar, token: str) -> int:
    return get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0]


def put(server: RedisServer, count: int, end: int) -> None:
    client = server.client()
    for start in range(0, count, 10_000):
        client.zadd(REVOKED, {secrets.token_urlsafe(16): end for _ in range(start, min(count, start + 10_000))})
    client.close()


@pytest.mark.parametrize(
    ("count", "workers"),
    [
        pytest.param(30_000, 1),
        pytest.param(1_000_000, 1, marks=[pytest.mark.faults, pytest.mark.timeout(300)]),
        pytest.param(1_000_000, 2, marks=[pytest.mark.faults, pytest.mark.timeout(300)]),
    ],
)
def test_a_sidecar_that_starts_in_a_storm_becomes_ready(tmp_path: Path, count: int, workers: int) -> None:
    """What is revoked while it loads is refused as soon as it is ready."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with RedisServer() as server, Upstream() as upstream:
        put(server, count, int(time.time()) + 1800)
        store = {"url": server.url}
        with running(tmp_path / "first", upstream.url, store=store) as first, storm(server.url, 2000):
            token, revoked, later = (first.token() for _ in range(3))
            config = configuration(upstream.url, store=store, workers=workers)
            with Sidecar(tmp_path / "second", config) as second:
                revoke(first, revoked)
                second.ready(within=120)
                assert second.metric("sidecar_revocations") > count
                assert (status(second, token), status(second, revoked), status(second, later)) == (200, 401, 200)
                revoke(first, later)
                wait_until(lambda: status(second, later) == 401)
                assert status(second, token) == 200


def test_a_sidecar_that_was_frozen_in_a_storm_continues_where_it_was(tmp_path: Path) -> None:
    """A paused virtual machine, or one that is short of CPU: it loads nothing again."""
    with (
        RedisServer() as server,
        Upstream() as upstream,
        running(tmp_path, upstream.url, store={"url": server.url}) as it,
    ):
        scans = server.calls()["zscan"]
        before = server.command("XLEN", "{sidecar}:revocations")
        it.signal_workers(signal.SIGSTOP)
        try:
            with storm(server.url, 10_000):
                wait_until(lambda: server.command("XLEN", "{sidecar}:revocations") > before + 15_000, within=60)
        finally:
            it.signal_workers(signal.SIGCONT)
        wait_until(lambda: it.metric("sidecar_revocations") == server.command("ZCARD", REVOKED))
        it.ready()
        assert server.calls()["zscan"] < scans + 5, "a new session checks that it may scan; 15,000 would take 8 scans"


def test_ended_revocations_leave_the_sidecar_and_redis(tmp_path: Path) -> None:
    """Redis keeps them for two hours more."""
    with RedisServer() as server, Upstream() as upstream:
        put(server, 20_000, int(time.time()) - 7200 - 60)
        put(server, 10_000, int(time.time()) + 3)
        put(server, 10, int(time.time()) + 600)
        with running(tmp_path, upstream.url, store={"url": server.url}) as it:
            wait_until(lambda: it.metric("sidecar_revocations") == 10, within=30)
            wait_until(lambda: server.command("ZCARD", REVOKED) == 10_010, within=30)
            it.ready()
