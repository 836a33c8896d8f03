"""The console of a real sidecar, alone and with several workers: what it shows, as things go wrong, and to whom."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.process import KEY, SECRET, Sidecar, get, running
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Unanswering, Upstream, saying
from tests.support.waiting import wait_until

TOKEN: Final = "0123456789abcdef" * 2
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
EVERYWHERE: Final = {"listen": "0.0.0.0:0"}
WORKERS: Final = pytest.mark.parametrize("workers", [1, 2])


@contextmanager
def serving(folder: Path, upstream: str, workers: int = 1, **sections: Any) -> Iterator[Sidecar]:
    if workers == 1:
        with running(folder, upstream, **sections) as sidecar:
            yield sidecar
        return
    with (
        RedisServer() as redis,
        running(folder, upstream, workers=workers, store={"url": redis.url}, **sections) as sidecar,
    ):
        yield sidecar


def facts(sidecar: Sidecar, **headers: str) -> dict[str, Any]:
    status, text = get(f"{sidecar.admin}/console.json", **headers)
    assert status == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def page(sidecar: Sidecar, **headers: str) -> str:
    status, text = get(f"{sidecar.admin}/", **headers)
    assert status == 200, text
    return text


def refusals(sidecar: Sidecar) -> list[dict[str, Any]]:
    return [each for worker in facts(sidecar)["workers"] for each in worker["refusals"]]


def shows(sidecar: Sidecar, text: str, *, within: float = 15) -> None:
    wait_until(lambda: text in page(sidecar), within=within)


class Watching:
    """A reader of the console's events."""

    def __init__(self, sidecar: Sidecar) -> None:
        parts = urlsplit(sidecar.admin)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        self._connection.request("GET", "/console/events")
        self._response = self._connection.getresponse()
        assert self._response.status == 200

    def next(self) -> dict[str, str] | None:
        """The parts that have changed; `None` at the end."""
        while line := self._response.readline():
            if line.startswith(b"data: "):
                found: dict[str, str] = json.loads(line[6:])
                return found
        return None

    def close(self) -> None:
        self._connection.close()


@WORKERS
def test_requests_and_refusals_of_every_worker_show(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    routes = [{"path": "/open", "access": "public"}, {"path": "/closed", "access": "deny"}]
    with serving(tmp_path, upstream.url, workers, routes=routes) as sidecar:
        before = page(sidecar)
        assert "No request was refused, and none failed, since the workers started." in before
        token = sidecar.token()
        for _ in range(10):
            assert get(f"{sidecar.public}/open?x=canary")[0] == 200
            assert get(f"{sidecar.public}/closed/?access_token={token}")[0] == 403
        assert get(f"{sidecar.public}/orders/{token}?x=canary", **{"X-Request-Id": "<b>id-1"})[0] == 401
        found = refusals(sidecar)
        assert sorted({each["reason"] for each in found}) == ["denied_by_route", "missing_token"]
        assert len(found) == 11
        closed = next(each for each in found if each["reason"] == "denied_by_route")
        assert (closed["method"], closed["path"], closed["client_id"], closed["status"]) == (
            "GET",
            "/closed/",
            "reporting",
            403,
        )
        assert next(each for each in found if each["reason"] == "missing_token")["path"] == "/orders/[token]"
        html = page(sidecar)
        assert "denied_by_route" in html
        assert "id &lt;b&gt;id-1" in html
        assert "/orders/[token]" in html
        for secret in (token, "canary", KEY, SECRET):
            assert secret not in html, "nothing secret"
        counted = facts(sidecar)["workers"]
        assert sum(worker["tally"]["failures"].get("protected denied_by_route", 0) for worker in counted) == 10
        assert len(counted) == workers
        used = {client["client_id"]: client["used"] for client in facts(sidecar)["clients"]}
        assert used["reporting"] == pytest.approx(time.time(), abs=60)
        assert used["other"] is None


def test_a_lost_worker_shows_and_its_counts_stay(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, upstream.url, 2) as sidecar:
        for _ in range(8):
            assert get(f"{sidecar.public}/orders")[0] == 401
        assert "refused 8," in page(sidecar).replace("8 refused", "refused 8")
        first = sidecar.workers()
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len({worker["pid"] for worker in facts(sidecar)["workers"]} - set(first)) == 1, within=20)
        shown = facts(sidecar)
        assert (shown["wanted"], shown["replaced"]) == (2, {"died": 1})
        html = page(sidecar)
        assert "Replaced since the start: 1 died." in html
        assert "8 refused" in html, "the history does not forget"


def test_a_missing_worker_needs_attention(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, upstream.url, 2) as sidecar:
        (stopped, _) = sidecar.workers()
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert "1 of 2 workers do not answer" in page(sidecar)
        finally:
            os.kill(stopped, signal.SIGCONT)
        shows(sidecar, "2 of 2")


def test_a_store_that_goes_away_needs_attention_until_it_is_back(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as redis:
        store = {"url": f"{redis.url}", "max_staleness": "1s"}
        with running(tmp_path, upstream.url, store=store) as sidecar:
            assert "Nothing. The sidecar is ready" in page(sidecar)
            redis.kill()
            shows(sidecar, "The store does not answer")
            shows(sidecar, "Requests that need a token get 503")
            assert f"127.0.0.1:{redis.port}" in page(sidecar)
            redis.start()
            shows(sidecar, "Nothing. The sidecar is ready")


def test_an_address_of_the_api_that_is_away_is_named(tmp_path: Path, upstream: Upstream) -> None:
    """No request fails by it: the other address gets them."""
    away = f"http://127.0.0.1:{free_port()}"
    routes = [{"path": "/**", "access": "public"}]
    with running(tmp_path, {"url": [away, upstream.url]}, routes=routes) as sidecar:
        assert get(f"{sidecar.public}/orders")[0] == 200
        html = page(sidecar)
        assert "An address of the API is passed over" in html
        assert f"{away}: refused: nothing listens" in html
        assert refusals(sidecar) == []


def test_an_api_that_fails_is_named_with_the_cause(sidecar: Sidecar, token: str, upstream: Upstream) -> None:
    upstream.answer = saying(b"nonsense\r\n\r\n", keep=False)
    assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 502
    assert (refusals(sidecar)[0]["reason"], refusals(sidecar)[0]["client_id"]) == ("upstream_invalid", "reporting")
    html = page(sidecar)
    assert "1 request failed in the last 5 minutes" in html
    assert "Look at the API" in html


@WORKERS
def test_a_reload_shows_with_its_faults_and_a_token_is_in_force_at_once(
    tmp_path: Path, upstream: Upstream, workers: int
) -> None:
    with serving(tmp_path, upstream.url, workers) as sidecar:
        path = tmp_path / "sidecar.yaml"
        good = yaml.safe_load(path.read_text())

        def reload(**changes: Any) -> int:
            path.write_text(yaml.safe_dump({**good, **changes}))
            return get(f"{sidecar.admin}/reload", {})[0]

        assert reload(clients="canary") == 422
        html = page(sidecar)
        assert "The configuration file has faults" in html
        assert "clients: must be a list" in html
        assert "canary" not in html
        assert reload() == 200
        assert "The configuration file has faults" not in page(sidecar)
        assert reload(admin={**good["admin"], "token": TOKEN}) == 200
        assert get(f"{sidecar.admin}/")[0] == 401
        html = page(sidecar, **BEARER)
        assert "Changed by it: admin.token" in html
        assert TOKEN not in html
        assert reload() == 200
        assert "Nothing. The sidecar is ready" in page(sidecar)


def test_a_listener_that_others_reach_shows_no_console_without_a_token(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, admin=EVERYWHERE) as sidecar:
        for path in ("/", "/console.json", "/console/events"):
            status, text = get(f"http://127.0.0.1:{urlsplit(sidecar.admin).port}{path}")
            assert (status, "admin.token" in text) == (403, True)
        assert get(f"{sidecar.admin}/readyz")[0] == 200
        assert get(f"{sidecar.admin}/metrics")[0] == 200


def test_with_a_token_the_console_asks_and_the_others_do_not(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, admin={**EVERYWHERE, "token": TOKEN}) as sidecar:
        assert get(f"{sidecar.admin}/")[0] == 401
        assert get(f"{sidecar.admin}/console.json", Authorization="Bearer wrong")[0] == 401
        assert facts(sidecar, **BEARER)["wanted"] == 1
        for path in ("/readyz", "/healthz", "/metrics"):
            assert get(f"{sidecar.admin}{path}")[0] == 200
        assert get(f"{sidecar.admin}/reload", {})[0] == 200
        assert TOKEN not in "".join(sidecar.logs)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"X_Forwarded_For": "10.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_no_page_of_another_site_reads_the_console(sidecar: Sidecar, headers: dict[str, str]) -> None:
    for path in ("/", "/console.json", "/console/events"):
        assert get(f"{sidecar.admin}{path}", **headers)[0] == 403
    assert get(f"{sidecar.admin}/readyz", **headers)[0] == 200


def test_the_consoles_cookie_never_reaches_the_api(sidecar: Sidecar, token: str, upstream: Upstream) -> None:
    """A browser sends it to every port of the host."""
    cookie = f"a=1; sidecar-console={'x' * 43}; b=2"
    assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}", Cookie=cookie)[0] == 200
    assert upstream.take()[-1].values("cookie") == ["a=1; b=2"]


@WORKERS
def test_watchers_see_a_refusal_and_are_let_go_when_the_process_drains(
    tmp_path: Path, upstream: Upstream, workers: int
) -> None:
    with serving(tmp_path, upstream.url, workers, drain={"delay": "1s", "timeout": "5s"}) as sidecar:
        watching = Watching(sidecar)
        first = watching.next()
        assert first is not None
        assert "Ready" in first["status"]
        assert get(f"{sidecar.public}/orders/7")[0] == 401
        while "refusals" not in (changed := watching.next() or {"refusals": ""}):
            pass
        assert "/orders/7" in changed["refusals"]
        assert get(f"{sidecar.admin}/drain", {})[0] == 202
        last: dict[str, str] = {}
        while (changed := watching.next()) is not None:
            last = changed
        assert "Draining" in last["status"]
        watching.close()
        assert "The sidecar is going away" in page(sidecar)


@WORKERS
def test_the_console_answers_while_requests_finish_after_sigterm(
    tmp_path: Path, upstream: Upstream, workers: int
) -> None:
    upstream.answer = Unanswering()
    routes = [{"path": "/**", "access": "public"}]
    with serving(tmp_path, upstream.url, workers, routes=routes, drain={"delay": "0s", "timeout": "20s"}) as sidecar:
        with socket.create_connection(sidecar.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: sum(worker["in_flight"] for worker in facts(sidecar)["workers"]) == 1)
            sidecar.process.send_signal(signal.SIGTERM)
            shows(sidecar, "The sidecar is going away")
            assert facts(sidecar)["public"] == sidecar.public
        sidecar.stop()


@WORKERS
def test_a_watcher_does_not_hold_up_the_end(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with serving(tmp_path, upstream.url, workers) as sidecar:
        watching = Watching(sidecar)
        assert watching.next() is not None
        sidecar.stop()
        watching.close()
        assert not sidecar.records("shutdown_overdue")


def test_a_watcher_that_does_not_read_holds_nobody_up(sidecar: Sidecar) -> None:
    parts = urlsplit(sidecar.admin)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as silent:
        silent.sendall(b"GET /console/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        watching = Watching(sidecar)
        assert watching.next() is not None
        assert watching.next() is not None
        watching.close()


def test_silent_connections_to_the_admin_listener_take_nothing_from_the_public_one(tmp_path: Path) -> None:
    with Upstream() as upstream, serving(tmp_path, upstream.url) as sidecar, contextlib.ExitStack() as held:
        parts = urlsplit(sidecar.admin)
        descriptors = Path(f"/proc/{sidecar.process.pid}/fd")
        for _ in range(400):
            silent = held.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
            silent.sendall(b"GET / HT")
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        wait_until(lambda: len(list(descriptors.iterdir())) < 250)
        assert get(f"{sidecar.public}/orders")[0] == 401
        assert not [line for line in sidecar.logs if '"level": "error"' in line]
