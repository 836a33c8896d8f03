"""With Redis: what many processes share, and what happens when it dies. Real processes, a real `redis-server`."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import SECRET, Sidecar, configuration, get, running
from tests.support.raw import exchange
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

CLIENT = {"client_id": "reporting", "client_secret": SECRET}


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextlib.contextmanager
def with_redis(folder: Path, upstream: Upstream, server: RedisServer, **sections: object) -> Iterator[Sidecar]:
    folder.mkdir(exist_ok=True)
    store = {"url": server.url, "timeout": "500ms", "max_staleness": "1s"}
    with running(folder, upstream.url, store=store, **sections) as process:
        yield process


def call(sidecar: Sidecar, token: str, path: str = "/orders") -> tuple[int, str]:
    status, body = get(f"{sidecar.public}{path}", Authorization=f"Bearer {token}")
    return status, "" if status == 200 else json.loads(body)["reason"]


def revoke(sidecar: Sidecar, token: str) -> int:
    return get(f"{sidecar.public}/oauth/revoke", {"token": token, **CLIENT})[0]


def test_a_revocation_takes_effect_in_another_process(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    with (
        with_redis(tmp_path / "a", upstream, redis_server) as first,
        with_redis(tmp_path / "b", upstream, redis_server) as second,
    ):
        token = first.token()
        assert call(second, token) == (200, "")
        assert revoke(first, token) == 200
        wait_until(lambda: call(second, token) == (401, "revoked"), within=2)
        assert call(first, token) == (401, "revoked")


def test_when_redis_dies_it_is_503_and_never_401_and_comes_back_by_itself(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    with with_redis(tmp_path / "a", upstream, redis_server) as sidecar:
        good, revoked = sidecar.token(), sidecar.token()
        assert revoke(sidecar, revoked) == 200
        redis_server.kill()
        wait_until(lambda: call(sidecar, good) == (503, "store_unavailable"))
        assert call(sidecar, revoked)[0] == 401, "what is known to be revoked stays so"
        assert call(sidecar, "x.y.z") == (401, "malformed_token"), "a bad credential is still the caller's fault"
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        status, body = get(f"{sidecar.admin}/readyz")
        told = f"the revocation view is stale: 127.0.0.1:{redis_server.port}: no connection (Connect"
        assert (status, json.loads(body)["checks"]["store"][: len(told)]) == (200, told), "ready once"
        assert revoke(sidecar, good) == 503, "a revocation that was not kept is never called done"
        assert sidecar.token(), "issuing needs no store"
        assert sidecar.metric("sidecar_store_up") == 0
        assert sidecar.metric("sidecar_revocation_feed_staleness_seconds") > 1
        assert sidecar.metric("sidecar_own_failures_total", reason="store_unavailable") > 1
        assert sidecar.metric("sidecar_requests_total", decision="refused", code="503") > 0
        assert sidecar.metric("sidecar_requests_total", decision="local", code="503") == 1
        assert sidecar.metric("sidecar_auth_failures_total", reason="store_unavailable") == 0
        redis_server.start()
        wait_until(lambda: call(sidecar, good) == (200, ""))
        assert call(sidecar, revoked) == (401, "revoked")
        sidecar.ready()
        sidecar.record("store_down")
        assert len(sidecar.records("store_up")) == 2
        # What the new server had lost was given back to it.
        assert redis_server.command("ZCARD", "{sidecar}:revoked") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_the_operator_may_let_the_last_known_revocations_suffice(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer, workers: int
) -> None:
    """For each route, and for a while. A revoked token stays revoked, and only what needs no store is issued."""
    routes = [
        {"path": "/strict/**", "on_outage": "deny"},
        {"path": "/short/**", "on_outage": {"allow_cached": "3s"}},
        {"path": "/open/**", "access": "public"},
    ]
    store = {"url": redis_server.url, "max_staleness": "1s", "on_outage": {"allow_cached": "1h"}}
    base = configuration(upstream.url)["clients"]
    refreshing = {**base[0], "client_id": "app", "grant_types": ["client_credentials", "refresh_token"]}
    with running(
        tmp_path, upstream.url, store=store, workers=workers, routes=routes, clients=[*base, refreshing]
    ) as sidecar:
        good, revoked = sidecar.token(), sidecar.token()
        assert revoke(sidecar, revoked) == 200
        grant = get(
            f"{sidecar.public}/oauth/token",
            {"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET},
        )
        refresh = json.loads(grant[1])["refresh_token"]
        wait_until(lambda: {call(sidecar, revoked) for _ in range(10)} == {(401, "revoked")})
        redis_server.kill()
        wait_until(lambda: call(sidecar, good, "/strict/x") == (503, "store_unavailable"))
        assert {call(sidecar, good, "/short/x")[0] for _ in range(5)} == {200}
        assert {call(sidecar, good)[0] for _ in range(10)} == {200}
        assert {call(sidecar, revoked) for _ in range(10)} == {(401, "revoked")}
        wait_until(lambda: call(sidecar, good, "/short/x") == (503, "store_unavailable"))
        assert {call(sidecar, good)[0] for _ in range(10)} == {200}
        assert get(f"{sidecar.public}/open/x")[0] == 200
        assert call(sidecar, sidecar.token()) == (200, "")
        form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "app", "client_secret": SECRET}
        status, body = get(f"{sidecar.public}/oauth/token", form)
        assert (status, json.loads(body)["error"]) == (503, "temporarily_unavailable")
        assert get(f"{sidecar.admin}/readyz")[0] == 200
        redis_server.start()
        wait_until(lambda: call(sidecar, good, "/strict/x") == (200, ""))
        assert {call(sidecar, revoked) for _ in range(10)} == {(401, "revoked")}


def test_a_process_that_never_knew_the_revocations_admits_nothing(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    redis_server.kill()
    store = {"url": redis_server.url, "on_outage": {"allow_cached": "1h"}}
    with Sidecar(tmp_path, configuration(upstream.url, store=store)) as sidecar:
        assert call(sidecar, sidecar.token()) == (503, "store_unavailable")
        assert get(f"{sidecar.admin}/readyz")[0] == 503


def test_the_operator_may_have_readiness_depend_on_the_store(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    store = {"url": redis_server.url, "max_staleness": "1s"}
    admin = {"listen": "127.0.0.1:0", "ready_needs_store": True}
    with running(tmp_path, upstream.url, store=store, admin=admin) as sidecar:
        redis_server.kill()
        wait_until(lambda: get(f"{sidecar.admin}/readyz")[0] == 503)
        redis_server.start()
        sidecar.ready()


def test_the_503_says_when_to_try_again(tmp_path: Path, upstream: Upstream, redis_server: RedisServer) -> None:
    with with_redis(tmp_path / "a", upstream, redis_server) as sidecar:
        token = sidecar.token()
        redis_server.pause()
        wait_until(lambda: call(sidecar, token)[0] == 503)
        head = f"GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        response = exchange(sidecar.address, head.encode())
        assert response.status == 503
        assert int(response.values("retry-after")[0]) > 0
        assert response.values("www-authenticate") == []
        assert json.loads(response.body)["error"] == "temporarily_unavailable"
        redis_server.resume()
        wait_until(lambda: call(sidecar, token)[0] == 200)


def test_a_sidecar_that_starts_without_redis_refuses_until_redis_is_there(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    redis_server.kill()
    config = configuration(upstream.url, store={"url": redis_server.url, "max_staleness": "1s"})
    with Sidecar(tmp_path, config) as sidecar:
        token = sidecar.token()
        assert call(sidecar, token) == (503, "store_unavailable")
        assert get(f"{sidecar.admin}/readyz")[0] == 503
        redis_server.start()
        sidecar.ready()
        assert call(sidecar, token) == (200, "")


def test_an_admitted_request_costs_no_redis_command(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    """Apart from the heartbeat, whose commands do not depend on the number of requests."""
    with with_redis(tmp_path / "a", upstream, redis_server) as sidecar:
        token = sidecar.token()
        before = redis_server.calls()
        assert all(call(sidecar, token) == (200, "") for _ in range(300))
        after = redis_server.calls()
        spent = {name: after[name] - before.get(name, 0) for name in after}
        heartbeat = {"evalsha", "xrange", "xrevrange", "time", "xadd", "xread", "info", "client|setinfo", "script|load"}
        heartbeat |= {"hset", "hget", "hmget", "hexists", "zcard", "zrangebyscore"}
        assert {name for name, count in spent.items() if count} <= heartbeat | {
            "hello",
            "auth",
            "client|setname",
            "select",
        }
        assert spent["evalsha"] < 30


def workers_of(sidecar: Sidecar) -> set[int]:
    """The process ids of the workers (not of multiprocessing's resource tracker)."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == sidecar.process.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    return found


def test_several_workers_share_port_revocations_and_metrics(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    with with_redis(tmp_path / "a", upstream, redis_server, workers=2) as sidecar:
        assert len(workers_of(sidecar)) == 2
        token = sidecar.token()
        assert all(call(sidecar, token) == (200, "") for _ in range(20))
        assert sidecar.metric("sidecar_workers") == 2
        assert sidecar.metric("sidecar_requests_total", decision="admitted", code="200") == 20
        assert revoke(sidecar, token) == 200
        wait_until(lambda: {call(sidecar, token) for _ in range(10)} == {(401, "revoked")}, within=2)


def test_a_killed_worker_is_replaced_and_no_counter_goes_back(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    with with_redis(tmp_path / "a", upstream, redis_server, workers=2) as sidecar:
        token = sidecar.token()
        assert all(call(sidecar, token) == (200, "") for _ in range(10))
        assert sidecar.metric("sidecar_requests_total", decision="admitted", code="200") == 10
        before = workers_of(sidecar)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(workers_of(sidecar)) == 2 and workers_of(sidecar) != before)
        sidecar.ready()
        assert sidecar.record("worker_died")["exit_code"] == -9
        assert sidecar.metric("sidecar_requests_total", decision="admitted", code="200") >= 10
        assert all(call(sidecar, token) == (200, "") for _ in range(10))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path, upstream: Upstream, redis_server: RedisServer) -> None:
    """No orphan goes on serving on the port."""
    with with_redis(tmp_path / "a", upstream, redis_server, workers=2) as sidecar:
        workers = workers_of(sidecar)
        sidecar.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_canary_never_reaches_redis_logs_metrics_or_arguments(
    tmp_path: Path, upstream: Upstream, redis_server: RedisServer
) -> None:
    logging = {"admitted": "info", "level": "debug"}
    canary = "canary-5f1d8e"
    with with_redis(tmp_path / "a", upstream, redis_server, logging=logging) as sidecar:
        token = sidecar.token()
        signature = token.rpartition(".")[2]
        call(sidecar, token)
        get(f"{sidecar.public}/orders?access_token={token}&q={canary}")
        get(f"{sidecar.public}/orders?access_token={token}x")
        get(f"{sidecar.public}/orders", {"access_token": token, "field": canary})
        bodies = [
            get(f"{sidecar.public}/oauth/token", {"grant_type": "client_credentials", "client_id": "reporting",
                                                  "client_secret": canary})[1],
            get(f"{sidecar.public}/oauth/token?client_secret={canary}", {"grant_type": canary})[1],
            get(f"{sidecar.public}/oauth/token", {"grant_type": "client_credentials", "scope": canary, **CLIENT})[1],
            get(f"{sidecar.public}/orders", Authorization=f"Basic {canary}")[1],
            get(f"{sidecar.public}/orders", Authorization=f"Bearer {canary}")[1],
        ]  # fmt: skip
        assert revoke(sidecar, token) == 200
        redis_server.kill()
        wait_until(lambda: call(sidecar, sidecar.token())[0] == 503)
        revoke(sidecar, token)
        redis_server.start()
        wait_until(lambda: redis_server.command("ZCARD", "{sidecar}:revoked") == 1)
        metrics = get(f"{sidecar.admin}/metrics")[1]
        arguments = Path(f"/proc/{sidecar.process.pid}/cmdline").read_bytes().decode()
        keys = {key: redis_server.command("ZRANGE", key, 0, -1) for key in redis_server.command("KEYS", "*")
                if redis_server.command("TYPE", key) == b"zset"}  # fmt: skip
        state = repr(keys) + repr(redis_server.command("XRANGE", "{sidecar}:revocations", "-", "+"))
        for name, text in {
            "log": "".join(sidecar.logs), "metrics": metrics, "arguments": arguments, "redis": state,
            "bodies": "".join(bodies),
        }.items():  # fmt: skip
            assert canary not in text, name
            assert signature not in text, name
            assert SECRET not in text, name
        assert "revoked" in state
