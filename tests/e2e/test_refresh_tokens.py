"""Refresh tokens, introspection and revocation between real processes that share one Redis."""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from sidecar.core.digests import digest
from sidecar.core.oauth.refresh_tokens import MOST_UNUSED
from tests.support.link import Link
from tests.support.process import COMMAND, SECRET, Sidecar, configuration, get, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

BOTH = ["client_credentials", "refresh_token"]
CLIENTS = [
    {"client_id": "reporting", "client_secret": SECRET, "grant_types": BOTH, "scope": "orders:read orders:write"},
    {"client_id": "other", "client_secret": "other-secret", "grant_types": BOTH},
    {"client_id": "plain", "client_secret": "plain-secret"},
    {"client_id": "gateway", "client_secret": "gateway-secret", "introspect": True},
]
CLIENT = {"client_id": "reporting", "client_secret": SECRET}
GATEWAY = {"client_id": "gateway", "client_secret": "gateway-secret"}
Fleet = Callable[..., contextlib.AbstractContextManager[list[Sidecar]]]


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    shared_redis.command("FLUSHALL")
    return shared_redis


@pytest.fixture
def fleet(tmp_path: Path, shared_upstream: Upstream) -> Fleet:
    """Starts sidecars on a server."""

    @contextlib.contextmanager
    def start(server: RedisServer, count: int = 2, **tokens: str) -> Iterator[list[Sidecar]]:
        store = {"url": server.url, "timeout": "500ms", "max_staleness": "1s"}
        with contextlib.ExitStack() as stack:
            sidecars = []
            for number in range(count):
                folder = tmp_path / str(number)
                folder.mkdir(exist_ok=True)
                base = configuration("")["tokens"]
                sections: dict[str, Any] = {"store": store, "clients": CLIENTS, "tokens": {**base, **tokens}}
                sidecars.append(stack.enter_context(running(folder, shared_upstream.url, **sections)))
            yield sidecars

    return start


def post(sidecar: Sidecar, path: str, **fields: str) -> tuple[int, dict[str, Any]]:
    status, body = get(f"{sidecar.public}/oauth/{path}", {**CLIENT, **fields})
    return status, json.loads(body) if body else {}


def begin(sidecar: Sidecar) -> dict[str, Any]:
    status, body = post(sidecar, "token", grant_type="client_credentials")
    assert status == 200
    return body


def refresh(sidecar: Sidecar, token: str, **fields: str) -> tuple[int, dict[str, Any]]:
    return post(sidecar, "token", grant_type="refresh_token", refresh_token=token, **fields)


def call(sidecar: Sidecar, token: str) -> int:
    return get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0]


def ask(sidecar: Sidecar, token: str) -> bool:
    status, body = post(sidecar, "introspect", token=token, **GATEWAY)
    assert status == 200
    assert body["active"] or body == {"active": False}
    return bool(body["active"])


def revoke_by_operator(folder: Path, *arguments: str, stdin: str = "") -> str:
    config = str(folder / "0" / "sidecar.yaml")
    done = subprocess.run(
        [*COMMAND, "tokens", "revoke", "--config", config, *arguments],
        input=stdin, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_refresh_goes_on_in_another_process(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet(redis_server) as (first, second):
        token = begin(first)["refresh_token"]
        for sidecar in (second, first, second):
            status, body = refresh(sidecar, token)
            assert status == 200
            assert call(first, body["access_token"]) == 200
            token = body["refresh_token"]
        assert ask(first, token)
        assert first.metric("sidecar_tokens_issued_total", grant_type="refresh_token") == 1


def test_fifty_refreshes_at_once_with_one_token_give_one_lineage(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet(redis_server) as sidecars:
        token = begin(sidecars[0])["refresh_token"]
        barrier = threading.Barrier(50)

        def race(number: int) -> tuple[int, dict[str, Any]]:
            barrier.wait()
            return refresh(sidecars[number % 2], token)

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(race, range(50)))
        assert [status for status, _ in answers] == [200] * 50
        (given,) = {body["refresh_token"] for _, body in answers}
        assert all(call(sidecars[number % 2], body["access_token"]) == 200 for number, (_, body) in enumerate(answers))
        status, body = refresh(sidecars[1], given)
        assert status == 200, "the lineage lives"
        assert call(sidecars[0], body["access_token"]) == 200
        assert refresh(sidecars[0], token)[1]["reason"] == "refresh_reused", "its successor was used"
        assert refresh(sidecars[1], body["refresh_token"])[1]["reason"] == "refresh_revoked"


@pytest.mark.parametrize("late", [0, 3600])
def test_a_lost_answer_is_given_again_by_any_process(
    fleet: Fleet, redis_server: RedisServer, tmp_path: Path, shared_upstream: Upstream, late: int
) -> None:
    """In a stall, and long after it."""
    with Link(("127.0.0.1", redis_server.port)) as link, fleet(redis_server, 1) as (second,):
        url = redis_server.url.replace(str(redis_server.port), str(link.port))
        config = configuration(shared_upstream.url, store={"url": url, "timeout": "500ms"}, clients=CLIENTS)
        with Sidecar(tmp_path, config) as first:
            first.ready()
            token = refresh(first, begin(first)["refresh_token"])[1]["refresh_token"]  # Redis has the script now
            link.lose(digest(token).encode())
            status, body = refresh(first, token)
            assert (status, body["reason"]) == (503, "store_unavailable")
            assert body["error_description"] == "The store does not answer; try again, with the same token or code."
            assert link.lost.is_set()
            rotated = float(redis_server.command("HGET", family(redis_server), "rotated"))
            redis_server.command("HSET", family(redis_server), "rotated", rotated - late)
            answers = [refresh(sidecar, token) for sidecar in (second, first, second, first)]
            assert [status for status, _ in answers] == [200] * 4
            (given,) = {body["refresh_token"] for _, body in answers}
            assert digest(given).encode() == redis_server.command("HGET", family(redis_server), "current")
            assert refresh(first, given)[0] == 200


def test_in_a_stall_every_try_gives_the_same(fleet: Fleet) -> None:
    """What was sent to Redis meanwhile is done when it goes on, more than once."""
    with RedisServer() as server, fleet(server) as sidecars:
        token = refresh(sidecars[0], begin(sidecars[0])["refresh_token"])[1]["refresh_token"]
        refresh(sidecars[1], begin(sidecars[1])["refresh_token"])
        server.pause()
        assert [refresh(sidecar, token)[0] for sidecar in sidecars * 2] == [503] * 4
        server.resume()
        answers = [refresh(sidecar, token) for sidecar in sidecars * 2]
        assert [status for status, _ in answers] == [200] * 4
        (given,) = {body["refresh_token"] for _, body in answers}
        assert refresh(sidecars[1], given)[0] == 200


def test_what_was_revoked_does_not_come_back_with_an_old_snapshot(
    fleet: Fleet, shared_upstream: Upstream, tmp_path: Path
) -> None:
    """By the client, by reuse, or by a code that was replayed: every process refuses, also one that starts afterwards."""
    with RedisServer() as server, fleet(server) as (first, second):
        revoked, reused, kept = (begin(first) for _ in range(3))
        followed = refresh(first, refresh(first, reused["refresh_token"])[1]["refresh_token"])[1]
        server.command("SAVE")
        assert post(first, "revoke", token=revoked["refresh_token"])[0] == 200
        assert refresh(first, reused["refresh_token"])[1]["reason"] == "refresh_reused"
        for body in (revoked, followed):
            wait_until(lambda: call(second, body["access_token"]) == 401, within=2)  # noqa: B023
        server.kill()
        server.start()
        for sidecar in (second, first):
            sidecar.ready()
            for body in (revoked, followed):
                assert not ask(sidecar, body["refresh_token"])
                assert refresh(sidecar, body["refresh_token"])[1]["reason"] == "refresh_revoked"
                assert call(sidecar, body["access_token"]) == 401
        (tmp_path / "new").mkdir()
        config = configuration(shared_upstream.url, store={"url": server.url, "max_staleness": "1s"}, clients=CLIENTS)
        with Sidecar(tmp_path / "new", config) as newcomer:
            newcomer.ready(within=20)
            for body in (revoked, followed):
                assert refresh(newcomer, body["refresh_token"])[1]["reason"] == "refresh_revoked"
                assert call(newcomer, body["access_token"]) == 401
            assert refresh(newcomer, kept["refresh_token"])[0] == 200


SHIFTED = "import time; real = time.time; time.time = lambda: real() + {}; from sidecar.cli import main; main()"


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_revoking_a_refresh_token_ends_its_access_tokens_whatever_the_time_is(
    redis_server: RedisServer, tmp_path: Path, shared_upstream: Upstream, ahead: int
) -> None:
    """Here, and in Redis."""
    config = configuration(shared_upstream.url, store={"url": redis_server.url}, clients=CLIENTS)
    with Sidecar(tmp_path, config, (sys.executable, "-c", SHIFTED.format(ahead))) as sidecar:
        sidecar.ready()
        begun = begin(sidecar)
        status, followed = refresh(sidecar, begun["refresh_token"])
        assert status == 200
        assert [call(sidecar, body["access_token"]) for body in (begun, followed)] == [200, 200]
        assert ask(sidecar, followed["refresh_token"])
        assert post(sidecar, "revoke", token=followed["refresh_token"]) == (200, {})
        assert [call(sidecar, body["access_token"]) for body in (begun, followed)] == [401, 401]
        assert not ask(sidecar, followed["refresh_token"])


@pytest.mark.parametrize("by_operator", [False, True])
def test_a_client_that_never_uses_its_refresh_tokens_keeps_the_newest(
    fleet: Fleet, redis_server: RedisServer, tmp_path: Path, by_operator: bool
) -> None:
    """One that is forgotten is good for one thing still: to end the access token that came with it."""
    with fleet(redis_server, 1) as (sidecar,):
        oldest, *others = [begin(sidecar) for _ in range(MOST_UNUSED + 1)]
        assert len(redis_server.command("KEYS", "{sidecar}:family:*")) == 2 * MOST_UNUSED
        assert refresh(sidecar, oldest["refresh_token"])[1]["reason"] == "refresh_expired"
        assert [call(sidecar, body["access_token"]) for body in (oldest, others[0])] == [200, 200]
        if by_operator:
            assert "which came with it" in revoke_by_operator(tmp_path, stdin=oldest["refresh_token"])
        else:
            assert post(sidecar, "revoke", token=oldest["refresh_token"]) == (200, {})
        wait_until(lambda: call(sidecar, oldest["access_token"]) == 401, within=2)
        assert call(sidecar, others[0]["access_token"]) == 200
        assert refresh(sidecar, others[0]["refresh_token"])[0] == 200


def test_a_worker_that_is_killed_between_rotation_and_answer_loses_no_token(
    fleet: Fleet, redis_server: RedisServer, tmp_path: Path, shared_upstream: Upstream
) -> None:
    """Nobody heard of the successor: trying again gives it, and only that one lives."""
    with Link(("127.0.0.1", redis_server.port)) as link, fleet(redis_server, 1) as (second,):
        url = redis_server.url.replace(str(redis_server.port), str(link.port))
        config = configuration(shared_upstream.url, store={"url": url, "timeout": "20s"}, clients=CLIENTS)
        with Sidecar(tmp_path, config) as first:
            first.ready()
            token = refresh(first, begin(first)["refresh_token"])[1]["refresh_token"]  # Redis has the script now
            link.lose(digest(token).encode())
            connection = http.client.HTTPConnection(*first.address, timeout=20)
            body = urlencode({**CLIENT, "grant_type": "refresh_token", "refresh_token": token})
            connection.request("POST", "/oauth/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
            assert link.lost.wait(20)
            first.kill()
        with contextlib.closing(connection), pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()
        rotated = redis_server.command("HGETALL", family(redis_server))
        assert rotated[b"previous"] == digest(token).encode()
        status, answer = refresh(second, token)
        assert status == 200
        assert digest(answer["refresh_token"]).encode() == rotated[b"current"], "no second child"
        assert refresh(second, token)[1]["refresh_token"] == answer["refresh_token"]
        assert refresh(second, answer["refresh_token"])[0] == 200


def family(server: RedisServer) -> bytes:
    (key,) = (key for key in server.command("KEYS", "{sidecar}:family:*") if not key.endswith(b":live"))
    return bytes(key)


def test_reuse_ends_the_family_in_every_process(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet(redis_server, refresh_grace="0s") as (first, second):
        begun = begin(first)
        _, followed = refresh(second, begun["refresh_token"])
        assert refresh(first, begun["refresh_token"])[0] == 400
        for sidecar in (first, second):
            for body in (begun, followed):
                wait_until(lambda: call(sidecar, body["access_token"]) == 401, within=2)  # noqa: B023
        assert refresh(second, followed["refresh_token"])[1]["reason"] == "refresh_revoked"
        assert first.metric("sidecar_auth_failures_total", plane="token", reason="refresh_reused") == 1
        assert first.record("request_local", reason="refresh_reused")["client_id"] == "reporting"


def test_revoking_a_refresh_token_in_one_process_is_seen_in_the_other(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet(redis_server) as (first, second):
        begun = begin(first)
        assert (
            post(second, "revoke", token=begun["refresh_token"], client_id="other", client_secret="other-secret")[0]
            == 400
        )
        assert post(second, "revoke", token=begun["refresh_token"]) == (200, {})
        wait_until(lambda: call(first, begun["access_token"]) == 401, within=2)
        assert not ask(first, begun["access_token"])
        assert not ask(first, begun["refresh_token"])
        assert refresh(first, begun["refresh_token"])[0] == 400


@pytest.mark.parametrize("who", [["--client", "reporting"], ["--subject", "reporting"], ["--all"]])
def test_an_operator_ends_all_that_was_issued_so_far(
    fleet: Fleet, redis_server: RedisServer, tmp_path: Path, who: list[str]
) -> None:
    with fleet(redis_server) as (first, second):
        begun, plain = begin(first), second.token("plain", "plain-secret")
        assert [call(second, token) for token in (begun["access_token"], plain)] == [200, 200]
        assert "revoked everything" in revoke_by_operator(tmp_path, *who)
        for sidecar in (first, second):
            wait_until(lambda: call(sidecar, begun["access_token"]) == 401, within=2)  # noqa: B023
            assert not ask(sidecar, begun["access_token"])
            assert not ask(sidecar, begun["refresh_token"])
        assert call(second, plain) == (401 if who == ["--all"] else 200)
        assert refresh(second, begun["refresh_token"])[1]["error"] == "invalid_grant"
        anew = begin(first)
        assert call(first, anew["access_token"]) == 200, "also in the same second"
        assert call(second, anew["access_token"]) == 200
        assert refresh(second, anew["refresh_token"])[0] == 200


def test_an_operator_ends_a_grant_by_its_refresh_token(fleet: Fleet, redis_server: RedisServer, tmp_path: Path) -> None:
    with fleet(redis_server, 1) as (sidecar,):
        begun = begin(sidecar)
        assert "1 access tokens" in revoke_by_operator(tmp_path, stdin=begun["refresh_token"])
        wait_until(lambda: call(sidecar, begun["access_token"]) == 401, within=2)


def test_a_not_before_time_is_kept_through_the_loss_of_redis(
    fleet: Fleet, tmp_path: Path, shared_upstream: Upstream
) -> None:
    with RedisServer() as server, fleet(server, 1) as (sidecar,):
        token = sidecar.token("plain", "plain-secret")
        revoke_by_operator(tmp_path, "--client", "plain")
        wait_until(lambda: call(sidecar, token) == 401)
        server.kill()
        server.start()
        sidecar.ready()
        assert call(sidecar, token) == 401
        wait_until(lambda: server.command("HEXISTS", "{sidecar}:cutoffs", "client plain") == 1)
        config = configuration(shared_upstream.url, store={"url": server.url}, clients=CLIENTS)
        with Sidecar(tmp_path, config) as newcomer:
            newcomer.ready()
            assert call(newcomer, token) == 401


def test_without_redis_it_is_503_and_no_token_is_lost(fleet: Fleet) -> None:
    with RedisServer() as server, fleet(server, 1) as (sidecar,):
        begun = begin(sidecar)
        server.pause()
        for answer in (
            refresh(sidecar, begun["refresh_token"]),
            post(sidecar, "revoke", token=begun["refresh_token"]),
            post(sidecar, "introspect", token=begun["refresh_token"], **GATEWAY),
            post(sidecar, "token", grant_type="client_credentials"),
        ):
            assert (answer[0], answer[1]["reason"]) == (503, "store_unavailable")
        assert sidecar.token("plain", "plain-secret"), "issuing without refresh tokens needs no store"
        wait_until(lambda: post(sidecar, "introspect", token=begun["access_token"], **GATEWAY)[0] == 503)
        server.kill()
        server.start()


def test_a_refresh_that_redis_took_too_long_for_can_be_tried_again(fleet: Fleet) -> None:
    with RedisServer() as server, fleet(server, 1) as (sidecar,):
        begun = begin(sidecar)
        server.pause()
        assert refresh(sidecar, begun["refresh_token"])[0] == 503
        server.resume()
        status, body = refresh(sidecar, begun["refresh_token"])
        assert status == 200
        assert refresh(sidecar, body["refresh_token"])[0] == 200


def test_no_refresh_token_reaches_redis_logs_or_metrics(fleet: Fleet, redis_server: RedisServer) -> None:
    with fleet(redis_server, 1) as (sidecar,):
        begun = begin(sidecar)
        first, (_, body) = begun["refresh_token"], refresh(sidecar, begun["refresh_token"])
        second = body["refresh_token"]
        refresh(sidecar, first)
        refresh(sidecar, first[:-3] + "AAA")
        refresh(sidecar, second + "x")
        post(sidecar, "introspect", token=second, **GATEWAY)
        get(f"{sidecar.public}/oauth/token?refresh_token={second}", CLIENT)
        post(sidecar, "revoke", token=second)
        held = []
        for key in redis_server.command("KEYS", "*"):
            held.append(key)
            match redis_server.command("TYPE", key):
                case b"hash":
                    held.append(redis_server.command("HGETALL", key))
                case b"zset":
                    held.append(redis_server.command("ZRANGE", key, 0, -1))
                case b"stream":
                    held.append(redis_server.command("XRANGE", key, "-", "+"))
        places = {"redis": repr(held), "log": "".join(sidecar.logs), "metrics": get(f"{sidecar.admin}/metrics")[1]}
        for name, text in places.items():
            for part in [*first.split("."), *second.split(".")]:
                assert part not in text, name
