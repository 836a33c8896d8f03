"""Workers that cannot be started, and processes that are left behind: the sidecar goes on with what it has."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import filterfalse
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.defects import LOOPING, command_with, with_defect
from tests.support.process import COMMAND, Sidecar, configuration, events, get, running
from tests.support.raw import exchange, read_response
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

REQUEST: Final = b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
OPEN: Final = {"routes": [{"path": "/**", "access": "public"}], "timeouts": {"drain": "1s"}}

# As when the limit of processes is reached, for as long as the file is there.
NO_PROCESS: Final = """
import errno, os, pathlib
from multiprocessing import util

spawn = util.spawnv_passfds

def full(*arguments):
    if pathlib.Path(__file__).with_name("full").exists() and b"resource_tracker" not in b"".join(map(os.fsencode, arguments[1])):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return spawn(*arguments)

util.spawnv_passfds = full
"""
# As when it is reached by the first thread of a process.
NO_THREAD: Final = """
import pathlib, threading

start = threading.Thread.start

def full(self):
    if pathlib.Path(__file__).with_name("full").exists():
        raise RuntimeError("can't start new thread")
    start(self)

threading.Thread.start = full
"""
# A worker that is asked whether it is ready never comes back.
BUSY: Final = """
from sidecar.assembly.app import App

async def readiness(self):
    while True:
        pass

App.readiness = readiness
"""
# Workers answer with a snapshot that lacks every counter.
GARBAGE: Final = """
from sidecar.runtime.worker_process import Parent

async def answer_to(self, question):
    self._writer.write(b'{"kind": "snapshot", "number": %d, "body": {}}\\n' % question.number)

Parent._answer_to = answer_to
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def two(redis: RedisServer, **more: object) -> dict[str, Any]:
    return {**OPEN, "workers": 2, "store": {"url": redis.url}, **more}


def readiness(sidecar: Sidecar) -> str:
    return get(f"{sidecar.admin}/readyz")[1]


def serves(sidecar: Sidecar) -> bool:
    """Whether the public port is open and answers."""
    try:
        return exchange(sidecar.address, REQUEST).status == 200
    except ConnectionError:
        return False


def gone(pid: int) -> bool:
    """Ended, and no zombie."""
    return not Path(f"/proc/{pid}").exists()


def test_when_no_process_can_be_had_the_parent_waits_for_it(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    """At the start and later; who is there goes on, and readiness says how many are missing, and why."""
    full = tmp_path / "full"
    full.touch()
    with with_defect(tmp_path, upstream, NO_PROCESS, once="starting", **two(redis)) as sidecar:
        record = sidecar.record("worker_cannot_start", level="error", running=0)
        assert "Resource temporarily unavailable" in record["detail"]
        assert "2 of 2 do not answer: no process" in readiness(sidecar)
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        full.unlink()
        sidecar.ready(within=30)
        first, second = sidecar.workers()
        full.touch()
        os.kill(first, signal.SIGKILL)
        sidecar.record("worker_cannot_start", running=1)
        assert "1 of 2 do not answer: no process" in readiness(sidecar)
        assert [exchange(sidecar.address, REQUEST).status for _ in range(10)] == [200] * 10
        full.unlink()
        sidecar.ready(within=30)
        assert second in sidecar.workers()
        assert len(sidecar.workers()) == 2
    assert "Traceback" not in "".join(sidecar.logs)


def test_a_worker_that_gets_no_thread_says_so(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> None:
    full = tmp_path / "full"
    with with_defect(tmp_path, upstream, NO_THREAD, **two(redis)) as sidecar:
        sidecar.ready()
        killed, _ = sidecar.workers()
        full.touch()
        os.kill(killed, signal.SIGKILL)
        assert "no thread" in sidecar.record("worker_cannot_start", running=1, within=20)["detail"]
        full.unlink()
        sidecar.ready(within=30)
    assert "Traceback" not in "".join(sidecar.logs)


def test_a_start_that_gets_no_thread_says_so(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "full").touch()
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(upstream.url)))
    command = [*command_with(tmp_path, NO_THREAD), "serve", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sidecar: the system gives no thread: raise the limit of processes\n"


def test_a_certificate_that_is_gone_keeps_nobody_who_runs(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    """A worker that cannot start for it says so once, and starts when it is back."""
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", "localhost")
    context = authority.trusting()
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}

    def status(sidecar: Sidecar) -> int:
        with (
            socket.create_connection(sidecar.address, timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(REQUEST)
            return read_response(connection).status

    with running(tmp_path, upstream.url, **two(redis, tls=tls)) as sidecar:
        killed, other = sidecar.workers()
        text = pair.certificate.read_bytes()
        pair.certificate.unlink()
        sidecar.record("certificate_unusable", level="error")
        os.kill(killed, signal.SIGKILL)
        detail = sidecar.record("worker_cannot_start", running=1, within=20)["detail"]
        assert "certificate" in detail
        tries = {killed, other}

        def tried_again() -> bool:
            tries.update(sidecar.workers())
            return len(tries) >= 4

        wait_until(tried_again, within=60)
        assert [status(sidecar) for _ in range(10)] == [200] * 10
        assert len(sidecar.records("worker_cannot_start")) == 1
        assert detail in readiness(sidecar)
        pair.certificate.write_bytes(text)
        sidecar.ready(within=30)
        assert other in sidecar.workers()
    assert "Traceback" not in "".join(sidecar.logs)


def test_workers_that_answer_garbage_go_on_serving_and_are_not_ready(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    """The conversation with them ends, and neither they nor their parent."""
    with with_defect(tmp_path, upstream, GARBAGE, once="starting", **two(redis, workers_timeout="60s")) as sidecar:
        wait_until(lambda: len(sidecar.workers()) == 2 and serves(sidecar))
        workers = sidecar.workers()
        assert get(f"{sidecar.admin}/metrics")[0] == 200
        wait_until(lambda: len(sidecar.records("internal_error")) == 2)
        assert {record["where"] for record in sidecar.records("internal_error")} == {"control"}
        assert "2 of 2 do not answer" in readiness(sidecar)
        assert [exchange(sidecar.address, REQUEST).status for _ in range(10)] == [200] * 10
        os.kill(workers[0], signal.SIGKILL)
        sidecar.record("worker_died", exit_code=-signal.SIGKILL)
        wait_until(lambda: len(set(sidecar.workers()) - {workers[0]}) == 2)
        assert workers[1] in sidecar.workers()
        sidecar.stop()


def replaced(sidecar: Sidecar) -> dict[str, int]:
    """The counter of replaced workers, by cause."""
    text = get(f"{sidecar.admin}/metrics")[1]
    return {
        cause: int(float(count))
        for cause, count in re.findall(r'sidecar_workers_replaced_total\{cause="(\w+)"\} (\S+)', text)
    }


@pytest.mark.parametrize("state", ["stopped", "busy"])
def test_a_worker_that_hangs_is_replaced(tmp_path: Path, upstream: Upstream, redis: RedisServer, state: str) -> None:
    """Whether the system gives it no time, or it gives none to its event loop."""
    with with_defect(tmp_path, upstream, LOOPING, **two(redis, workers_timeout="3s")) as sidecar:
        sidecar.ready()
        first, second = sidecar.workers()
        assert replaced(sidecar) == {"died": 0, "hung": 0, "cannot_start": 0}
        if state == "stopped":
            os.kill(first, signal.SIGSTOP)
        else:
            (tmp_path / "loop").write_text(str(first))
        record = sidecar.record("worker_hung", level="error", within=20)
        assert (record["worker"], record["detail"]) == (
            first,
            "it did not answer for 3 s, is killed and will be replaced",
        )
        sidecar.ready(within=30)
        assert second in sidecar.workers()
        assert gone(first)
        assert replaced(sidecar) == {"died": 0, "hung": 1, "cannot_start": 0}
        assert [exchange(sidecar.address, REQUEST).status for _ in range(10)] == [200] * 10
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: replaced(sidecar)["died"] == 1)
        sidecar.ready(within=30)


def test_a_parent_that_was_stopped_with_its_workers_kills_none(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    with running(tmp_path, upstream.url, **two(redis, workers_timeout="2s")) as sidecar:
        workers = sidecar.workers()
        for _ in range(3):
            for pid in (sidecar.process.pid, *workers):
                os.kill(pid, signal.SIGSTOP)
            time.sleep(3)  # longer than the limit
            for pid in (sidecar.process.pid, *workers):
                os.kill(pid, signal.SIGCONT)
            sidecar.ready()
        assert sidecar.workers() == workers
        assert not sidecar.records("worker_hung")


def test_sigterm_ends_a_start_that_waits(tmp_path: Path, upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(configuration(upstream.url, listen=f"127.0.0.1:{taken.getsockname()[1]}")))
        process = subprocess.Popen([*COMMAND, "serve", "--config", str(path)], stderr=subprocess.PIPE)
        assert next(events(process))["event"] == "address_in_use"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
        assert (process.returncode, rest) == (0, b"")


@pytest.mark.parametrize("hung", ["frozen", "busy"])
def test_a_hung_worker_ends_after_its_parent_was_killed(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, hung: str
) -> None:
    """Within the time of a drain; the system continues one that is stopped."""
    defect = BUSY if hung == "busy" else ""
    with with_defect(tmp_path, upstream, defect, **two(redis)) as sidecar:
        wait_until(lambda: len(sidecar.workers()) == 2 and exchange(sidecar.address, REQUEST).status == 200)
        workers = sidecar.workers()
        try:
            if hung == "busy":
                assert "2 of 2 do not answer" in readiness(sidecar)
            else:
                sidecar.ready()
                os.kill(workers[0], signal.SIGSTOP)
            sidecar.kill()
            wait_until(lambda: all(map(gone, workers)), within=1 + 15)
            assert bool(sidecar.records("shutdown_overdue")) is (hung == "busy")
        finally:
            for pid in filterfalse(gone, workers):
                os.kill(pid, signal.SIGKILL)
