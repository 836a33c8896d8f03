"""The sidecar leaves in two steps, its successor takes over, and its workers are replaced while they serve."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.command import run
from tests.support.defects import LOOPING, command_with, with_defect
from tests.support.process import COMMAND, Sidecar, configuration, events, get
from tests.support.raw import Response, exchange, read_response
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

REQUEST: Final = b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
OPEN: Final[dict[str, Any]] = {"routes": [{"path": "/**", "access": "public"}]}
BOTH: Final = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def sections(redis: RedisServer, workers: int, **more: Any) -> dict[str, Any]:
    shared = {"workers": workers, "store": {"url": redis.url}} if workers > 1 else {}
    return {**OPEN, **shared, **more}


def closes(response: Response) -> bool:
    return response.status == 200 and response.values("connection") == ["close"]


@BOTH
@pytest.mark.parametrize("how", ["signal", "endpoint", "command"])
def test_the_soft_step_serves_everyone_once_more(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int, how: str
) -> None:
    """Not ready, each response ends its connection, new clients are served; SIGTERM waits for the end of `drain.delay`."""
    with Sidecar(tmp_path, configuration(upstream.url, **sections(redis, workers, drain={"delay": "2s"}))) as sidecar:
        sidecar.ready()
        with socket.create_connection(sidecar.address, timeout=10) as kept:
            kept.sendall(REQUEST)
            assert not closes(read_response(kept))
            if how == "signal":
                sidecar.process.send_signal(signal.SIGUSR2)
            elif how == "endpoint":
                assert get(f"{sidecar.admin}/drain", {}) == (202, '{"status": "draining", "delay": 2.0}')
            else:
                result = run("drain", "--no-wait", "--admin", sidecar.admin.removeprefix("http://"))
                assert (result.exit_code, result.output) == (0, "draining; balancers have 2 s to notice\n")
            sidecar.record("drain_begun", delay=2)
            wait_until(lambda: get(f"{sidecar.admin}/readyz")[0] == 503)
            assert json.loads(get(f"{sidecar.admin}/readyz")[1])["checks"]["draining"] != "ok"
            sidecar.process.send_signal(signal.SIGTERM)
            wait_until(lambda: closes(exchange(sidecar.address, REQUEST)))
            kept.sendall(REQUEST)
            assert closes(read_response(kept))
        assert sidecar.records("draining") == []
        sidecar.process.wait(20)
        assert len(sidecar.records("draining")) == workers
    assert sum(record["requests_cut"] for record in sidecar.records("stopped")) == 0


def test_without_sigterm_the_soft_step_lasts(tmp_path: Path, upstream: Upstream) -> None:
    """The API of a pod may need longer than `drain.delay`, and until then its sidecar serves."""
    with Sidecar(tmp_path, configuration(upstream.url, **OPEN, drain={"delay": "10ms"})) as sidecar:
        sidecar.ready()
        for _ in range(2):
            assert get(f"{sidecar.admin}/drain", {})[0] == 202
        time.sleep(0.1)  # well beyond the delay
        assert all(closes(exchange(sidecar.address, REQUEST)) for _ in range(5))
        assert len(sidecar.records("drain_begun")) == 1


class Clients:
    """Threads that connect, ask and count, each response by its status; 0 stands for a connection that failed."""

    def __init__(self, address: tuple[str, int], threads: int = 3, *, keep: bool = False) -> None:
        self.address = address
        self.seen: dict[int, int] = {}
        self.faults: list[str] = []
        self._keep = keep
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                with socket.create_connection(self.address, timeout=10) as sock:
                    while self._one(sock):
                        pass
            except OSError as exc:
                self._count(0, repr(exc))

    def _one(self, sock: socket.socket) -> bool:
        sock.sendall(REQUEST)
        response = read_response(sock)
        self._count(response.status if response.complete else 0, "incomplete")
        return self._keep and response.complete and not closes(response) and not self._over.is_set()

    def _count(self, status: int, fault: str) -> None:
        with self._lock:
            self.seen[status] = self.seen.get(status, 0) + 1
            if not status:
                self.faults.append(fault)

    @property
    def total(self) -> int:
        return sum(self.seen.values())

    def more(self, count: int = 100) -> None:
        """Wait until so many more requests were answered."""
        before = self.total
        wait_until(lambda: self.total >= before + count, within=30)

    @contextlib.contextmanager
    def asking(self) -> Iterator["Clients"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(15)


@pytest.mark.parametrize("keep", [False, True])
@BOTH
def test_a_successor_takes_over_without_a_refused_connection(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int, keep: bool
) -> None:
    places = {"listen": f"127.0.0.1:{free_port()}", "admin": {"listen": f"127.0.0.1:{free_port()}"}}
    config = configuration(upstream.url, **sections(redis, workers, drain={"delay": "0s"}, **places))
    with Sidecar(tmp_path, config) as old, Clients(old.ready().address, keep=keep).asking() as clients:
        clients.more()
        old.process.send_signal(signal.SIGUSR2)
        old.record("drain_begun")
        with Sidecar(tmp_path, config) as new:
            new.ready()
            clients.more()
            old.stop()
            clients.more()
            assert clients.seen.keys() == {200}, clients.faults
            assert new.metric("sidecar_requests_total", code="200") > 50
    assert clients.seen[200] > 300


def test_two_that_do_not_know_of_each_other_do_not_share_a_port(tmp_path: Path, upstream: Upstream) -> None:
    """Neither while the first serves, nor a third one while the second takes over."""
    places = {"listen": f"127.0.0.1:{free_port()}", "admin": {"listen": f"127.0.0.1:{free_port()}"}}
    config = configuration(upstream.url, **OPEN, drain={"delay": "0s"}, **places)

    def refused() -> bool:
        path = tmp_path / "sidecar.yaml"
        command = [*COMMAND, "serve", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode == 1 and "Address already in use" in done.stderr

    with Sidecar(tmp_path, config) as first:
        first.ready()
        assert refused()
        first.process.send_signal(signal.SIGUSR2)
        first.record("drain_begun")
        with Sidecar(tmp_path, config) as second:
            second.ready()
            first.stop()
            assert refused()
            assert exchange(second.address, REQUEST).status == 200


def test_the_service_manager_keeps_the_sockets(tmp_path: Path, upstream: Upstream) -> None:
    """Socket activation: who connects between two processes waits for the second one."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as public, socket.create_server(("127.0.0.1", 0)) as admin:
        where = public.getsockname()

        def command() -> list[str]:
            code = (
                "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.set_inheritable(3, True); os.set_inheritable(4, True); "
                "os.environ |= dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='public:admin'); "
                "os.execv(sys.executable, [sys.executable, '-m', 'sidecar', *sys.argv[1:]])"
            )
            high = [os.dup(sock.fileno()) for sock in (public, admin)]
            for descriptor in high:
                os.set_inheritable(descriptor, True)
            return [*map(str, high), code]

        class Activated(Sidecar):
            def __init__(self) -> None:
                first, second, code = command()
                popen = subprocess.Popen

                def inheriting(arguments: Any, **options: Any) -> Any:
                    return popen(arguments, pass_fds=(int(first), int(second)), **options)

                subprocess.Popen = inheriting  # type: ignore[misc,assignment]
                try:
                    super().__init__(
                        tmp_path, configuration(upstream.url, **OPEN), (COMMAND[0], "-c", code.format(first, second))
                    )
                finally:
                    subprocess.Popen = popen  # type: ignore[misc]
                    os.close(int(first))
                    os.close(int(second))

        with Activated() as first:
            first.ready()
            assert first.address == where
            assert exchange(where, REQUEST).status == 200
        with socket.create_connection(where, timeout=20) as waiting:
            waiting.sendall(REQUEST)
            with Activated() as second:
                assert read_response(waiting).status == 200
                assert second.ready().address == where


@pytest.mark.parametrize("keep", [False, True])
def test_workers_are_rolled_while_they_serve(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, keep: bool
) -> None:
    with (
        Sidecar(tmp_path, configuration(upstream.url, **sections(redis, 2))) as sidecar,
        Clients(sidecar.ready().address, keep=keep).asking() as clients,
    ):
        clients.more()
        before = sidecar.workers()
        result = run("roll", "--admin", sidecar.admin.removeprefix("http://"))
        assert result.exit_code == 0, result.output
        assert all(str(pid) in result.output for pid in before)
        wait_until(lambda: not set(before) & set(sidecar.workers()), within=20)
        clients.more()
        assert clients.seen.keys() == {200}, clients.faults
        assert len(sidecar.workers()) == 2
        assert len(sidecar.records("worker_rolled")) == 2
        assert sidecar.records("worker_died") == []
        answered = clients.seen[200]
        assert sidecar.metric("sidecar_requests_total", code="200") >= answered  # those of the old workers too


def test_one_worker_cannot_be_rolled(tmp_path: Path, upstream: Upstream) -> None:
    with Sidecar(tmp_path, configuration(upstream.url, **OPEN)) as sidecar:
        result = run("roll", "--admin", sidecar.ready().admin.removeprefix("http://"))
        assert result.exit_code == 1
        assert "there is one worker" in result.output


@pytest.mark.parametrize("how", ["loop", "stopped"])
def test_a_worker_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, how: str
) -> None:
    more = sections(redis, 2, workers_timeout="1s", drain={"timeout": "20s"})
    with with_defect(tmp_path, upstream, LOOPING, **more) as sidecar:
        sidecar.ready()
        hung = sidecar.workers()[0]
        sidecar.process.send_signal(signal.SIGSTOP)  # so that it does not notice before it is told to end
        if how == "loop":
            (tmp_path / "loop").write_text(str(hung))
            wait_until(lambda: running_for_long(hung))
        else:
            os.kill(hung, signal.SIGSTOP)
        sidecar.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        sidecar.process.send_signal(signal.SIGCONT)
        assert sidecar.process.wait(30) == 1
        assert time.monotonic() - begun < 15  # and not after `drain.timeout`
        sidecar.expected_code = 1
        assert sidecar.record("worker_hung")["worker"] == hung


def running_for_long(pid: int) -> bool:
    """Whether the process has just used much of a processor."""
    before = cpu(pid)
    time.sleep(0.3)
    return cpu(pid) - before > 15


def cpu(pid: int) -> int:
    """Ticks of a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("how", ["loop", "stopped"])
def test_a_worker_that_hangs_does_not_keep_the_port_of_a_killed_parent(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, how: str
) -> None:
    more = sections(redis, 2, listen=f"127.0.0.1:{free_port()}", drain={"timeout": "1s"})
    with with_defect(tmp_path, upstream, LOOPING, **more) as sidecar:
        sidecar.ready()
        hung = sidecar.workers()[0]
        if how == "loop":
            (tmp_path / "loop").write_text(str(hung))
            wait_until(lambda: running_for_long(hung))
        else:
            os.kill(hung, signal.SIGSTOP)
        sidecar.kill()
        with Sidecar(tmp_path, configuration(upstream.url, **more)) as second:
            second.ready()
            assert exchange(second.address, REQUEST).status == 200
        wait_until(lambda: not Path(f"/proc/{hung}").exists(), within=20)


CRASHING: Final = """
import os
from sidecar.runtime.worker import Worker

Worker.run = lambda *_: os._exit(7)
"""


def test_a_crash_loop_ends_the_parent_with_the_cause(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(upstream.url, **sections(redis, 2))))
    command = [*command_with(tmp_path, CRASHING), "serve", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        (record,) = [each for each in events(process) if each["event"] == "workers_keep_failing"]
        assert process.wait(30) == 1
    assert record["cause"] == "a worker ended with exit code 7"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_port_opens_once_the_revocations_are_known(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int
) -> None:
    """No client of a cold start sees 503: it is refused, or served."""
    listen = free_port()
    more = sections(redis, workers, store={"url": redis.url}, listen=f"127.0.0.1:{listen}")
    seen: list[int] = []
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            with contextlib.suppress(ConnectionError):
                seen.append(
                    exchange(
                        ("127.0.0.1", listen), b"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n"
                    ).status
                )

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        more["routes"] = []
        with Sidecar(tmp_path, configuration(upstream.url, **more)) as sidecar:
            sidecar.ready()
            wait_until(lambda: len(seen) > 20)
            over.set()
            knocking.join(20)
    finally:
        over.set()
    assert set(seen) == {401}


def test_the_port_opens_when_redis_is_known_to_be_down(tmp_path: Path, upstream: Upstream) -> None:
    with Sidecar(
        tmp_path, configuration(upstream.url, **OPEN, store={"url": f"redis://127.0.0.1:{free_port()}"})
    ) as sidecar:
        sidecar.record("store_down")
        assert exchange(sidecar.address, REQUEST).status == 200
        assert get(f"{sidecar.admin}/healthz")[0] == 200
