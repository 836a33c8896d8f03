"""The real sidecar with real sentinels and a real Cluster: failovers under traffic, any order of starting, TLS."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.process import COMMAND, SECRET, Sidecar, configuration, get
from tests.support.redis import RedisServer
from tests.support.topologies import ClusterSet, SentinelSet
from tests.support.traffic import CLIENTS, REFRESHING, Traffic
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

STALENESS = 2.0
CLIENT = {"client_id": "reporting", "client_secret": SECRET}
Set = SentinelSet | ClusterSet


@pytest.fixture(params=["sentinel", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[Set]:
    kind = SentinelSet if request.param == "sentinel" else ClusterSet
    with kind() as started:
        yield started


def started(folder: Path, upstream: Upstream, url: str, **sections: object) -> Sidecar:
    folder.mkdir(exist_ok=True)
    store = {"url": url, "timeout": "500ms", "max_staleness": f"{STALENESS}s"}
    return Sidecar(folder, configuration(upstream.url, store=store, clients=CLIENTS, **sections))


def call(sidecar: Sidecar, token: str) -> tuple[int, str]:
    status, body = get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")
    return status, "" if status == 200 else json.loads(body)["reason"]


def revoke(sidecar: Sidecar, token: str) -> int:
    return get(f"{sidecar.public}/oauth/revoke", {"token": token, **CLIENT})[0]


def victim(servers: Set) -> RedisServer:
    return servers.primary if isinstance(servers, SentinelSet) else servers.primary_of("{sidecar-0-0}")


def replaced(servers: Set, gone: RedisServer) -> bool:
    """Whether the others have agreed on a new primary."""
    if isinstance(servers, SentinelSet):
        return servers.primary is not gone
    return len(servers.primaries) == 3 and servers.healthy(replicas=0)


def served_again(sidecars: list[Sidecar], kept: list[str], good: str) -> None:
    """Everything works, and what was revoked stays revoked."""
    for sidecar in sidecars:
        wait_until(lambda sidecar=sidecar: call(sidecar, good) == (200, ""))
        token = sidecar.token()
        wait_until(lambda sidecar=sidecar, token=token: revoke(sidecar, token) == 200)
        wait_until(lambda sidecar=sidecar, token=token: call(sidecar, token) == (401, "revoked"))
        assert {call(sidecar, each) for each in kept} == {(401, "revoked")}


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_failover_under_traffic(tmp_path: Path, upstream: Upstream, servers: Set, fault: str) -> None:
    """A primary dies or hangs: nothing revoked is admitted, no valid token is called invalid, and it ends by itself."""
    with (
        started(tmp_path / "a", upstream, servers.url, workers=2) as first,
        started(tmp_path / "b", upstream, servers.url) as second,
    ):
        both = [first.ready(), second.ready()]
        good, *kept = (first.token() for _ in range(30))
        assert {revoke(first, token) for token in kept} == {200}
        grant = {"grant_type": "client_credentials", **REFRESHING}
        refresh = json.loads(get(f"{first.public}/oauth/token", grant)[1])["refresh_token"]
        with Traffic(both, STALENESS + 0.5) as traffic:
            wait_until(lambda: traffic.answers["refresh", 200] > 20 and traffic.answers["revoke", 200] > 20)
            gone = victim(servers)
            getattr(gone, fault)()
            wait_until(lambda: replaced(servers, gone), within=30)
            begun = time.monotonic()
            served_again(both, kept, good)
            assert time.monotonic() - begun < 12
            before = traffic.answers.copy()
            wait_until(
                lambda: all((traffic.answers - before)[kind, 200] > 5 for kind in ("valid", "revoke", "refresh"))
            )
        assert traffic.faults == []
        assert traffic.answers["revoked", 401] > 100
        form = {"grant_type": "refresh_token", "refresh_token": refresh, **REFRESHING}
        assert get(f"{second.public}/oauth/token", form)[0] == 200


@pytest.mark.faults
def test_one_failover_after_the_other(tmp_path: Path, upstream: Upstream, servers: Set) -> None:
    """Each server that was killed comes back empty, and takes over later."""
    with started(tmp_path / "a", upstream, servers.url, workers=2) as sidecar:
        sidecar.ready()
        good, *kept = (sidecar.token() for _ in range(10))
        assert {revoke(sidecar, token) for token in kept} == {200}
        with Traffic([sidecar], STALENESS + 0.5) as traffic:
            for _ in range(4):
                gone = victim(servers)
                gone.kill()
                wait_until(lambda gone=gone: replaced(servers, gone), within=30)
                served_again([sidecar], kept, good)
                gone.start()
                wait_until(servers.whole, within=60)
        assert traffic.faults == []


def test_the_sidecar_starts_before_redis(tmp_path: Path, upstream: Upstream, servers: Set) -> None:
    everything = [*servers.servers, *(servers.sentinels if isinstance(servers, SentinelSet) else ())]
    for server in everything:
        server.kill()
    with started(tmp_path / "a", upstream, servers.url) as sidecar:
        token = sidecar.token()
        assert call(sidecar, token) == (503, "store_unavailable")
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        status, body = get(f"{sidecar.admin}/readyz")
        assert status == 503
        told = json.loads(body)["checks"]["store"]
        assert "answers: 127.0.0.1:" in told
        assert "no connection (" in told
        for server in everything:
            server.start()
        sidecar.ready(within=30)
        assert call(sidecar, token) == (200, "")
        assert revoke(sidecar, token) == 200
        assert call(sidecar, token) == (401, "revoked")


def test_the_operator_revokes_and_the_demo_checks_itself(tmp_path: Path, upstream: Upstream, servers: Set) -> None:
    with started(tmp_path / "a", upstream, servers.url, workers=2) as sidecar:
        sidecar.ready()
        token = sidecar.token()
        command = [*COMMAND, "tokens", "revoke", "--config", str(tmp_path / "a" / "sidecar.yaml")]
        done = subprocess.run(
            [*command, "--client", "reporting"], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: call(sidecar, token) == (401, "revoked"))
        demo = [*COMMAND, "demo", "--check", "--store", servers.url]
        checked = subprocess.run(demo, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_redis_asks_for_a_client_certificate(tmp_path: Path, upstream: Upstream) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server", "redis"), authority.issue("client", "sidecar")
    options = [
        "--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key), "--tls-ca-cert-file",
        str(authority.ca), "--tls-auth-clients", "yes",
    ]  # fmt: skip
    with RedisServer(*options, password="secret", tls=True) as redis:
        url = f"rediss://:secret@127.0.0.1:{redis.tls_port}/0?ssl_ca_certs={authority.ca}"
        certified = f"{url}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}"
        with started(tmp_path / "a", upstream, certified) as sidecar:
            token = sidecar.ready().token()
            assert revoke(sidecar, token) == 200
            assert call(sidecar, token) == (401, "revoked")
        with started(tmp_path / "b", upstream, url) as sidecar:
            told = str(sidecar.record("store_down")["detail"])
            assert told.startswith(f"127.0.0.1:{redis.tls_port}: ")
            assert get(f"{sidecar.admin}/readyz")[0] == 503
            assert "secret" not in "".join(sidecar.logs)


def test_the_operator_is_told_once_that_redis_may_forget(tmp_path: Path, upstream: Upstream) -> None:
    with (
        RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as redis,
        started(tmp_path / "a", upstream, redis.url) as sidecar,
    ):
        sidecar.ready()
        told = sidecar.record("store_may_forget")
        assert told["detail"].startswith(f"127.0.0.1:{redis.port}: maxmemory-policy is allkeys-lru")
        assert told["level"] == "warning"
        redis.kill()
        sidecar.record("store_down")
        redis.start()
        wait_until(lambda: len(sidecar.records("store_up")) == 2)
        sidecar.ready()
        assert len(sidecar.records("store_may_forget")) == 1
