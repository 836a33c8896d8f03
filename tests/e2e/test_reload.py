"""A new configuration while the sidecar serves: on a signal, by command, and when a file changes."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.command import run
from tests.support.process import Sidecar, configuration, get
from tests.support.raw import exchange, read_response
from tests.support.redis import RedisServer
from tests.support.upstream import Received, Upstream, reply, saying
from tests.support.waiting import wait_until

OPEN: Final = b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
PUBLIC: Final = [{"path": "/open", "access": "public"}]
CLOSED: Final = [{"path": "/open", "access": "deny"}]
WORKERS: Final = pytest.mark.parametrize("workers", [1, 2])


class Reloading(Sidecar):
    """A sidecar whose file the test changes."""

    def __init__(self, folder: Path, upstream: str, **sections: Any) -> None:
        self.path = folder / "sidecar.yaml"
        self.upstream: str | Mapping[str, Any] = upstream
        self.sections = sections
        super().__init__(folder, configuration(upstream, **sections))

    def write(self, upstream: str | Mapping[str, Any] = "", **sections: Any) -> None:
        """Change sections of the file."""
        self.upstream = upstream or self.upstream
        self.sections = {**self.sections, **sections}
        text = yaml.safe_dump(configuration(self.upstream, **self.sections))
        aside = self.path.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.path)

    def asked(self) -> tuple[int, Any]:
        """`POST /reload`."""
        status, text = get(f"{self.admin}/reload", {})
        return status, json.loads(text)

    def use(self, upstream: str | Mapping[str, Any] = "", **sections: Any) -> None:
        """Change sections, and see that they are used."""
        self.write(upstream, **sections)
        status, answer = self.asked()
        assert status == 200, answer


@contextmanager
def reloading(folder: Path, upstream: str, workers: int = 1, **sections: Any) -> Iterator[Reloading]:
    if workers == 1:
        with Reloading(folder, upstream, **sections) as sidecar:
            yield sidecar.ready()
        return
    with RedisServer() as redis:
        shared = {"workers": workers, "store": {"url": redis.url}, **sections}
        with Reloading(folder, upstream, **shared) as sidecar:
            yield sidecar.ready()


def answers(sidecar: Sidecar, request: bytes = OPEN) -> set[int]:
    """The statuses of requests on many connections, so that each worker has some."""
    return {exchange(sidecar.address, request).status for _ in range(12)}


@WORKERS
@pytest.mark.parametrize("how", ["signal", "watch", "command"])
def test_each_worker_uses_the_new_file(tmp_path: Path, upstream: Upstream, workers: int, how: str) -> None:
    with reloading(tmp_path, upstream.url, workers, routes=PUBLIC) as sidecar:
        assert answers(sidecar) == {200}
        sidecar.write(routes=CLOSED)
        if how == "signal":
            sidecar.process.send_signal(signal.SIGHUP)
        elif how == "command":
            address = sidecar.admin.removeprefix("http://")
            result = run("reload", "--admin", address)
            assert (result.exit_code, result.output) == (0, "changed: routes\n")
            assert run("reload", "--admin", address).output == "nothing has changed\n"
        record = sidecar.record("config_reloaded")
        assert (record["changed"], record["needs_restart"]) == (["routes"], [])
        assert answers(sidecar) == {403}


@WORKERS
def test_a_file_with_faults_changes_nothing_and_shows(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with reloading(tmp_path, upstream.url, workers, routes=PUBLIC) as sidecar:
        before = sidecar.metric("sidecar_config_hash")
        since = sidecar.metric("sidecar_config_last_reload_success_timestamp_seconds")
        assert sidecar.metric("sidecar_config_last_reload_successful") == 1
        sidecar.write(routes=CLOSED, limits={"in_flight": 0}, nonsense=1)
        status, answer = sidecar.asked()
        assert status == 422
        assert [fault.partition(":")[0] for fault in answer["faults"]] == ["limits.in_flight", "nonsense"]
        assert sidecar.record("config_rejected")["faults"] == answer["faults"]
        assert sidecar.metric("sidecar_config_last_reload_successful") == 0
        assert sidecar.metric("sidecar_config_last_reload_success_timestamp_seconds") == since
        assert sidecar.metric("sidecar_config_hash") == before
        assert answers(sidecar) == {200}
        result = run("reload", "--admin", sidecar.admin.removeprefix("http://"))
        assert result.exit_code == 1
        assert "limits.in_flight: " in result.output
        del sidecar.sections["nonsense"]
        sidecar.use(limits={"in_flight": 7})
        assert sidecar.metric("sidecar_config_last_reload_successful") == 1
        assert sidecar.metric("sidecar_config_last_reload_success_timestamp_seconds") > since
        assert sidecar.metric("sidecar_config_hash") != before
        assert answers(sidecar) == {403}


def test_what_needs_a_restart_is_named_and_the_rest_is_used(tmp_path: Path, upstream: Upstream) -> None:
    with reloading(tmp_path, upstream.url, routes=PUBLIC) as sidecar:
        sidecar.write(routes=CLOSED, listen="127.0.0.1:1", store={"url": "redis://127.0.0.1:1"}, workers=2)
        status, answer = sidecar.asked()
        assert status == 200
        assert answer["changed"] == ["routes"]
        assert answer["needs_restart"] == ["listen.address", "workers", "store.url"]
        assert sidecar.record("config_reloaded")["level"] == "warning"
        assert answers(sidecar) == {403}


@WORKERS
def test_a_worker_that_is_replaced_later_has_the_new_file(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with reloading(tmp_path, upstream.url, workers, routes=PUBLIC) as sidecar:
        sidecar.use(routes=CLOSED)
        for pid in sidecar.workers():
            os.kill(pid, signal.SIGKILL)
        if workers > 1:
            sidecar.record("worker_died")
        sidecar.ready(within=30)
        assert answers(sidecar) == {403}


def test_connections_and_streams_go_on(tmp_path: Path) -> None:
    """A response that flows and a connection without a request see nothing of a reload, whatever changes."""
    more = threading.Event()

    def stream(_: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfour")
        more.wait(20)
        connection.sendall(b"more")
        return True

    with (
        Upstream(stream) as old,
        Upstream(saying(reply(200, b"new"))) as new,
        reloading(tmp_path, old.url, routes=PUBLIC) as sidecar,
    ):
        flowing = socket.create_connection(sidecar.address, timeout=20)
        flowing.sendall(OPEN)
        head = b""
        while not head.endswith(b"four"):
            head += flowing.recv(1000)
        idle = socket.create_connection(sidecar.address, timeout=20)
        sidecar.use(
            new.url,
            limits={"headers": "4KiB"},
            timeouts={"response": "7s", "idle": "9s"},
            trusted_proxies=["127.0.0.1"],
        )
        idle.sendall(OPEN)
        assert read_response(idle).body == b"new"
        more.set()
        rest = b""
        while len(rest) < 4:
            rest += flowing.recv(1000)
        assert rest == b"more"
        flowing.sendall(OPEN)
        assert read_response(flowing).body == b"new"
        flowing.close()
        idle.close()


LIMITS: Final[Mapping[str, tuple[dict[str, Any], bytes, int]]] = {
    "limits.headers": (
        {"limits": {"headers": "1KiB"}},
        b"GET /open HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n",
        431,
    ),
    "limits.request_line": (
        {"limits": {"request_line": "256B"}},
        b"GET /open?" + b"x" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
    ),
    "limits.body": (
        {"limits": {"body": "10B"}},
        b"PUT /open HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + b"x" * 20,
        413,
    ),
}


@pytest.mark.parametrize("what", LIMITS)
def test_limits_apply_to_old_and_new_connections(tmp_path: Path, upstream: Upstream, what: str) -> None:
    sections, request, refused = LIMITS[what]
    with (
        reloading(tmp_path, upstream.url, routes=PUBLIC) as sidecar,
        socket.create_connection(sidecar.address, timeout=10) as kept,
    ):
        kept.sendall(request)
        assert read_response(kept).status == 200
        sidecar.use(**sections)
        assert exchange(sidecar.address, request).status == refused

        statuses = [200]

        def old_connection_refuses() -> bool:
            if statuses[-1] == 200:
                kept.sendall(request)
                statuses.append(read_response(kept).status)
            return statuses[-1] == refused

        wait_until(old_connection_refuses)  # a connection learns of its limits in the next check


def test_a_proxy_that_is_not_trusted_any_more_is_not_believed(tmp_path: Path, upstream: Upstream) -> None:
    """Also on the connection that it had before, and when its head repeats."""
    request = OPEN[:-2] + b"X-Forwarded-For: 9.9.9.9\r\n\r\n"
    with (
        reloading(tmp_path, upstream.url, routes=PUBLIC, trusted_proxies=["127.0.0.1"]) as sidecar,
        socket.create_connection(sidecar.address, timeout=10) as kept,
    ):
        for _ in range(30):
            kept.sendall(request)
            assert read_response(kept).status == 200
        assert upstream.received[-1].values("x-forwarded-for") == ["9.9.9.9, 127.0.0.1"]
        sidecar.use(trusted_proxies=[])
        for _ in range(3):
            kept.sendall(request)
            assert read_response(kept).status == 200
            assert upstream.received[-1].values("x-forwarded-for") == ["127.0.0.1"]


@WORKERS
def test_clients_and_keys_change_without_a_token_lost(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with reloading(tmp_path, upstream.url, workers) as sidecar:
        token = sidecar.token()
        bearer = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        assert answers(sidecar, bearer) == {200}
        base = configuration(upstream.url)
        second = {"kid": "k2", "alg": "HS256", "secret": "k" * 40}
        keys = [second, *base["tokens"]["signing_keys"]]
        sidecar.use(tokens={**base["tokens"], "signing_keys": keys})
        assert answers(sidecar, bearer) == {200}
        sidecar.use(clients=[{**client, "disabled": client["client_id"] == "reporting"} for client in base["clients"]])
        assert answers(sidecar, bearer) == {401}
        sidecar.use(clients=base["clients"], tokens={**base["tokens"], "signing_keys": [second]})
        assert answers(sidecar, bearer) == {401}
        assert sidecar.token()


def test_tls_begins_and_its_files_change(tmp_path: Path, upstream: Upstream) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost")
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    with reloading(tmp_path, upstream.url, routes=PUBLIC) as sidecar:
        assert answers(sidecar) == {200}
        sidecar.write(tls={"certificate": str(pair.certificate), "key": str(broken)})
        assert sidecar.asked()[0] == 422
        assert answers(sidecar) == {200}
        sidecar.use(tls={"certificate": str(pair.certificate), "key": str(pair.key)})
        context = authority.trusting()
        with (
            socket.create_connection(sidecar.address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(OPEN)
            assert secure.recv(1000).startswith(b"HTTP/1.1 200")


@WORKERS
def test_no_signal_kills_by_accident(tmp_path: Path, upstream: Upstream, workers: int) -> None:
    with reloading(tmp_path, upstream.url, workers, routes=PUBLIC) as sidecar:
        for number in (signal.SIGUSR1, signal.SIGQUIT):
            sidecar.process.send_signal(number)
            sidecar.signal_workers(number)
            sidecar.record("signal_ignored", signal=number.name)
        if workers > 1:
            sidecar.signal_workers(signal.SIGHUP)
            assert "parent" in sidecar.record("signal_ignored", signal="SIGHUP")["detail"]
        assert answers(sidecar) == {200}


def test_many_reloads_under_load_fail_no_request(tmp_path: Path, upstream: Upstream) -> None:
    """Two connections ask without a pause while everything changes and changes back."""
    with reloading(tmp_path, upstream.url, 2, routes=PUBLIC) as sidecar:
        over, seen = threading.Event(), set[int]()

        def ask() -> None:
            with socket.create_connection(sidecar.address, timeout=10) as sock:
                while not over.is_set():
                    sock.sendall(OPEN)
                    seen.add(read_response(sock).status)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(10):
            sidecar.use(
                {"url": upstream.url, "max_connections": 100 + number},
                limits={"in_flight": 100 + number},
                timeouts={"stream": f"{number + 1}s"},
                trusted_proxies=[f"10.0.0.{number}"],
            )
        over.set()
        for thread in threads:
            thread.join(10)
        assert seen == {200}


def test_less_memory_is_held_from_now_on(tmp_path: Path, upstream: Upstream) -> None:
    """Also of what is held already: those who hold most are refused."""
    with reloading(tmp_path, upstream.url, limits={"memory": "64MiB"}) as sidecar, ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(socket.create_connection(sidecar.address, timeout=10))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 30_000 + b"\r\nY")
        wait_until(lambda: sidecar.metric("sidecar_memory_held_bytes") > 6_000_000)
        sidecar.use(limits={"memory": "4MiB"})
        assert sidecar.metric("sidecar_memory_limit_bytes") == 4 * 1024**2
        wait_until(lambda: sidecar.metric("sidecar_memory_held_bytes") <= 4 * 1024**2)
        assert 0 < sidecar.metric("sidecar_own_failures_total", reason="overloaded") < 100
        wait_until(lambda: sidecar.metric("sidecar_connections") < 100)
        assert sidecar.record("connections_limited", memory=4 * 1024**2)["limit"] < 20_000
