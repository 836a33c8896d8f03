"""Real sidecars on a Redis that loses data, is replaced, is full, has another clock or another password."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.process import SECRET, Sidecar, configuration, get
from tests.support.redis import RedisServer
from tests.support.switch import Switch
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

STALENESS = "2s"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def api() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def settings(upstream: Upstream, url: str, **sections: Any) -> dict[str, Any]:
    return configuration(upstream.url, store={"url": url, "max_staleness": STALENESS}, **sections)


@contextlib.contextmanager
def started(folder: Path, upstream: Upstream, url: str, name: str, **sections: Any) -> Iterator[Sidecar]:
    (folder / name).mkdir(exist_ok=True)
    with Sidecar(folder / name, settings(upstream, url, **sections)) as sidecar:
        yield sidecar


def status(sidecar: Sidecar, token: str) -> int:
    return get(f"{sidecar.public}/x", Authorization=f"Bearer {token}")[0]


def revoke(sidecar: Sidecar, token: str) -> int:
    form = {"client_id": "reporting", "client_secret": SECRET, "token": token}
    return get(f"{sidecar.public}/oauth/revoke", form)[0]


def never_admitted(sidecar: Sidecar, token: str, until: Callable[[], bool], *, within: float = 15) -> None:
    """401 or 503, and in the end 401."""
    deadline = time.monotonic() + within
    while not until():
        assert status(sidecar, token) in (401, 503)
        assert time.monotonic() < deadline
    wait_until(lambda: status(sidecar, token) == 401, within=within)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failover_that_lost_a_revocation_admits_nobody(
    tmp_path: Path, api: Upstream, own_redis: RedisServer, workers: int
) -> None:
    """The second sidecar had not heard of it, nor had the replica, when the primary died."""
    with (
        RedisServer() as replica,
        Switch(own_redis.port) as link,
        Switch(own_redis.port) as near,
        Switch(own_redis.port) as far,
        started(tmp_path, api, near.url, "near") as first,
        started(tmp_path, api, far.url, "far", workers=workers) as second,
    ):
        replica.command("REPLICAOF", "127.0.0.1", link.port)
        first.ready()
        second.ready()
        token = first.token()
        assert (status(first, token), status(second, token)) == (200, 200)
        wait_until(lambda: replica.command("EXISTS", "{sidecar}:revocations") == 1)
        link.hold()
        far.hold()
        assert revoke(first, token) == 200
        assert status(first, token) == 401
        own_redis.kill()
        link.cut()
        replica.command("REPLICAOF", "NO", "ONE")
        time.sleep(2.5)  # what the second was shown before is too old by now, whatever it was
        near.lead_to(replica.port)
        far.lead_to(replica.port)
        never_admitted(second, token, lambda: get(f"{second.admin}/readyz")[0] == 200)
        assert status(first, token) == 401


def test_a_sidecar_that_starts_after_the_set_was_lost_admits_nothing_that_was_revoked(
    tmp_path: Path, api: Upstream, own_redis: RedisServer
) -> None:
    with started(tmp_path, api, own_redis.url, "first") as first:
        first.ready()
        token = first.token()
        assert revoke(first, token) == 200
        own_redis.command("DEL", "{sidecar}:revoked")
        with started(tmp_path, api, own_redis.url, "second") as second:
            never_admitted(second, token, lambda: get(f"{second.admin}/readyz")[0] == 200)
        assert own_redis.command("ZCARD", "{sidecar}:revoked") == 1


def test_poison_in_redis_ends_nothing(tmp_path: Path, api: Upstream, own_redis: RedisServer) -> None:
    with contextlib.closing(own_redis.client()) as client:
        client.zadd("{sidecar}:revoked", {"x": float("inf"), b"\xff\xfe": 2e9, " client x": 9e9})
        client.xadd("{sidecar}:revocations", {b"\xff": b"\xfe"})
        client.xadd("{sidecar}:revocations", {"jti": b"\xff", "until": b"\xff"})
        client.hset("{sidecar}:state", mapping={"card": "many", "lost": b"\xff\xfe"})
        client.hset("{sidecar}:cutoffs", mapping={"all ": "soon", "client reporting": b"\xff"})
    with started(tmp_path, api, own_redis.url, "a") as sidecar:
        sidecar.ready(within=30)
        token = sidecar.token()
        assert status(sidecar, token) == 200
        assert revoke(sidecar, token) == 200
        assert status(sidecar, token) == 401
        assert sidecar.metric("sidecar_store_unreadable_entries") > 0
        assert sidecar.record("store_entries_unreadable")
        assert not sidecar.records("background_task_ended")


def test_a_full_redis_keeps_nobody_from_being_served(tmp_path: Path, api: Upstream, own_redis: RedisServer) -> None:
    """What cannot be revoked is said: 503, a metric, the readiness and the log."""
    with started(tmp_path, api, own_redis.url, "a") as sidecar:
        sidecar.ready()
        token, other = sidecar.token(), sidecar.token()
        assert revoke(sidecar, other) == 200
        own_redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
        sidecar.record("store_not_writable")
        end = time.monotonic() + 4  # twice the staleness
        while time.monotonic() < end:
            assert status(sidecar, token) == 200
            assert status(sidecar, other) == 401
        assert revoke(sidecar, token) == 503
        code, text = get(f"{sidecar.admin}/readyz")
        assert code == 200
        told = (
            f"nothing can be revoked: 127.0.0.1:{own_redis.port}: the server is out of memory (OOM command not allowed"
        )
        assert told in text
        assert sidecar.metric("sidecar_store_writable") == 0
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        sidecar.record("store_writable")
        assert sidecar.metric("sidecar_store_writable") == 1
        assert revoke(sidecar, token) == 200


def test_a_clock_an_hour_ahead_makes_nobody_forget(tmp_path: Path, api: Upstream, own_redis: RedisServer) -> None:
    """It is said in the log and by a metric."""
    path = tmp_path / "ahead.yaml"
    path.write_text(yaml.safe_dump(settings(api, own_redis.url)))
    ahead = "import time; real = time.time; time.time = lambda: real() + 3600; from sidecar.cli import main; main()"
    with (
        started(tmp_path, api, own_redis.url, "good") as good,
        Sidecar(tmp_path, path, command=[sys.executable, "-c", ahead]) as odd,
    ):
        good.ready()
        odd.ready()
        token, theirs = good.token(), odd.token()
        assert revoke(good, token) == 200
        assert revoke(odd, theirs) == 200
        assert status(good, token) == 401
        odd.record("clock_differs")
        assert abs(odd.metric("sidecar_store_clock_skew_seconds") + 3600) < 2
        assert abs(good.metric("sidecar_store_clock_skew_seconds")) < 2
        assert not good.records("clock_differs")
        with started(tmp_path, api, own_redis.url, "newcomer") as newcomer:
            newcomer.ready()
            assert status(newcomer, token) == 401


def test_a_password_that_is_changed_in_its_file_is_taken(tmp_path: Path, api: Upstream) -> None:
    secret = tmp_path / "a" / "redis-password"
    secret.parent.mkdir()
    secret.write_text("first-password\n")
    with RedisServer(password="first-password") as server:
        url = f"redis://:${{file:redis-password}}@127.0.0.1:{server.port}/0"
        with started(tmp_path, api, url, "a") as sidecar:
            sidecar.ready()
            token = sidecar.token()
            server.command("CONFIG", "SET", "requirepass", "second-password")
            server._password = "second-password"
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            words = "WRONGPASS invalid username-password pair or user is disabled."
            told = f"127.0.0.1:{server.port}: the server refuses the name or password ({words})"
            sidecar.record("store_down", detail=told, within=20)
            secret.write_text("second-password\n")
            wait_until(lambda: len(sidecar.records("store_up")) == 2, within=20)
            assert revoke(sidecar, token) == 200
            assert status(sidecar, token) == 401
            assert not any(each in "".join(sidecar.logs) for each in ("first-password", "second-password"))


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_in_the_moment_in_which_redis_goes_ends_it(
    tmp_path: Path, api: Upstream, own_redis: RedisServer, workers: int
) -> None:
    for number in range(6):
        with (
            Switch(own_redis.port) as switch,
            started(tmp_path, api, switch.url, "a", workers=workers, timeouts={"drain": "5s"}) as sidecar,
        ):
            sidecar.ready()
            switch.cut()
            time.sleep(number * 0.0007)
            sidecar.process.send_signal(signal.SIGTERM)
            assert sidecar.process.wait(15) == 0
