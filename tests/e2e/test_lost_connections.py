"""What firewalls and balancers do to idle connections to Redis, and defects in the background: the process goes on, or fails."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.people import Browser, clients, code_request, users
from tests.support.process import SECRET, Sidecar, configuration, get
from tests.support.redis import RedisServer
from tests.support.relay import Relay
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

CALLBACK = "https://app.example/cb"
ASKED = code_request(CALLBACK)
CLIENT = {"client_id": "reporting", "client_secret": SECRET}
REPORTING = {
    **CLIENT,
    "grant_types": ["client_credentials", "refresh_token"],
    "scope": "orders:read",
    "introspect": True,
}
AT_ONCE = 16


@pytest.fixture
def relay() -> Iterator[Relay]:
    with RedisServer() as server, Relay(("127.0.0.1", server.port)) as link:
        yield link


def serving(folder: Path, upstream: Upstream, relay: Relay, **sections: Any) -> Sidecar:
    """With a view that lives longer than an outage of a test."""
    store = {"url": f"redis://127.0.0.1:{relay.port}/0", "timeout": "5s", "max_staleness": "2s"}
    sections = {"clients": [REPORTING, *clients(CALLBACK)], "users": users(), "store": store, **sections}
    return Sidecar(folder, configuration(upstream.url, **sections))


def issue(sidecar: Sidecar) -> dict[str, str]:
    status, body = get(f"{sidecar.public}/oauth/token", {"grant_type": "client_credentials", **CLIENT})
    assert status == 200, body
    answer: dict[str, str] = json.loads(body)
    return answer


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reset_of_all_connections_to_redis_costs_nobody_anything(
    tmp_path: Path, upstream: Upstream, relay: Relay, workers: int
) -> None:
    """Pooled ones and the feed's, while many people want something at once, again and again."""
    with serving(tmp_path, upstream, relay, workers=workers) as sidecar, ThreadPoolExecutor(AT_ONCE) as pool:
        sidecar.ready()

        def post(path: str, **form: str) -> int:
            return get(f"{sidecar.public}/oauth/{path}", {**CLIENT, **form})[0]

        for _ in range(5):
            issued = list(pool.map(lambda _: issue(sidecar), range(AT_ONCE)))
            relay.reset()
            wanted = [
                *(pool.submit(post, "token", grant_type="client_credentials") for _ in range(4)),
                *(pool.submit(post, "token", grant_type="refresh_token", refresh_token=each["refresh_token"]) for each in issued[:4]),
                *(pool.submit(post, "revoke", token=each["access_token"]) for each in issued[4:8]),
                *(pool.submit(post, "revoke", token=each["refresh_token"]) for each in issued[8:12]),
                *(pool.submit(post, "introspect", token=each["refresh_token"]) for each in issued[12:]),
            ]  # fmt: skip
            assert [each.result() for each in wanted] == [200] * len(wanted)
            relay.reset()
            browser = Browser(sidecar.public)
            assert browser.log_in(ASKED).location.startswith("?response_type=code&")
            relay.reset()
            assert "code" in browser.decide(ASKED).answer
            assert get(f"{sidecar.admin}/metrics")[0] == 200
        sidecar.ready()
        assert not sidecar.records("internal_error")
        assert not sidecar.records("background_task_ended")
        assert not sidecar.records("worker_died")


@pytest.mark.parametrize("workers", [1, 2])
def test_resets_while_nobody_asks_for_anything_end_nothing(
    tmp_path: Path, upstream: Upstream, relay: Relay, workers: int
) -> None:
    """The feed is the one who meets the connections that are dead."""
    with serving(tmp_path, upstream, relay, workers=workers) as sidecar, ThreadPoolExecutor(AT_ONCE) as pool:
        token = sidecar.ready().token()
        for _ in range(5):
            list(pool.map(lambda _: issue(sidecar), range(AT_ONCE)))
            relay.reset()
            wait_until(lambda: relay.open >= 2 * workers and sidecar.metric("sidecar_store_up") == 1)
            assert sidecar.metric("sidecar_revocation_feed_staleness_seconds") < 2
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 200
        assert sidecar.process.poll() is None
        assert sidecar.metric("sidecar_workers") == workers
        assert not sidecar.records("internal_error")
        assert not sidecar.records("background_task_ended")
        assert not sidecar.records("worker_died")


def test_connections_that_a_firewall_forgot_cost_a_503_at_most(
    tmp_path: Path, upstream: Upstream, relay: Relay
) -> None:
    """What is sent on them may have been done, as far as anybody can tell; whoever tries again has a new connection."""
    form = {"grant_type": "client_credentials", **CLIENT}
    with serving(tmp_path, upstream, relay) as sidecar, ThreadPoolExecutor(AT_ONCE) as pool:
        sidecar.ready()

        def issue_at_once() -> set[int]:
            return set(pool.map(lambda _: get(f"{sidecar.public}/oauth/token", form)[0], range(AT_ONCE)))

        for _ in range(5):
            assert issue_at_once() == {200}
            relay.forget()
            assert issue_at_once() <= {200, 503}
        sidecar.ready()
        assert not sidecar.records("internal_error")
        assert not sidecar.records("background_task_ended")


DEFECT = """
from sidecar.stores.redis.feed import RevocationFeed
whole, left = RevocationFeed._session, [{times}]
async def session(self, view):
    if left[0]:
        left[0] -= 1
        raise LookupError("a defect, token=canary-5f1d8e")
    await whole(self, view)
RevocationFeed._session = session
"""


def with_defect(folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Every Python process that is started now has a feed that fails so often."""
    (folder / "sitecustomize.py").write_text(DEFECT.format(times=times))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_background_task_that_fails_is_started_again(
    tmp_path: Path, upstream: Upstream, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defect(tmp_path, monkeypatch, times=3)
    with serving(tmp_path, upstream, relay) as sidecar:
        token = issue(sidecar)["access_token"]
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 503, (
            "nobody knows what was revoked"
        )
        assert get(f"{sidecar.admin}/readyz")[0] == 503
        sidecar.ready(within=20)
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 200
        ended = sidecar.records("background_task_ended")
        assert [(each["task"], each["failures"]) for each in ended] == [("feed", 1), ("feed", 2), ("feed", 3)]
        assert all("LookupError: a defect" in each["exception"] for each in ended)
        assert 0 < ended[0]["restarted_in"] < ended[1]["restarted_in"] < ended[2]["restarted_in"]
        assert "canary" not in "".join(sidecar.logs)


def test_a_background_task_that_fails_for_good_ends_the_process_with_code_1(
    tmp_path: Path, upstream: Upstream, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defect(tmp_path, monkeypatch, times=10**9)
    with serving(tmp_path, upstream, relay) as sidecar:
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        assert sidecar.process.wait(60) == 1
        sidecar.expected_code = 1
        assert [each["failures"] for each in sidecar.records("background_task_ended")] == [1, 2, 3, 4, 5]
        assert sidecar.record("stopped")["requests_cut"] == 0


def test_a_worker_whose_background_task_fails_for_good_ends_with_code_1_and_is_replaced(
    tmp_path: Path, upstream: Upstream, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_defect(tmp_path, monkeypatch, times=10**9)
    with serving(tmp_path, upstream, relay, workers=2) as sidecar:
        token = issue(sidecar)["access_token"]
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 503, (
            "nobody knows what was revoked"
        )
        assert sidecar.record("worker_died", within=60)["exit_code"] == 1
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        assert get(f"{sidecar.admin}/readyz")[0] == 503
        assert get(f"{sidecar.admin}/metrics")[0] == 200
        wait_until(lambda: sidecar.metric("sidecar_workers") == 2, within=30)
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(30) == 0
