"""Signals, what hangs at the end, and how processes end that lose their parent or their worker."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.defects import with_defect
from tests.support.holding import Holding, held
from tests.support.process import COMMAND, Sidecar, configuration, events, get, running
from tests.support.raw import read_response
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

REQUEST: Final = b"GET /open HTTP/1.1\r\nHost: a\r\n\r\n"
OPEN: Final = {"routes": [{"path": "/**", "access": "public"}], "timeouts": {"drain": "1s"}}
IGNORED: Final = (signal.SIGQUIT, signal.SIGUSR1)
OF_THE_PARENT: Final = (signal.SIGHUP, signal.SIGUSR2)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def sections(redis: RedisServer, workers: int, **more: object) -> dict[str, Any]:
    return {**OPEN, "workers": workers, "store": {"url": redis.url}, **more}


STUCK_FEED: Final = """
import asyncio
from sidecar.stores.redis.feed import RevocationFeed
from sidecar.stores.memory import MemoryStore

def stubborn(follow):
    async def never_mind(self, view):
        while True:
            try:
                await follow(self, view)
            except asyncio.CancelledError:
                pass
    return never_mind

RevocationFeed.follow = stubborn(RevocationFeed.follow)
"""
STUCK_STORE: Final = """
import asyncio
from sidecar.stores.redis.store import RedisStore

async def close(self):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

RedisStore.close = close
"""
STUCK_THREAD: Final = """
import threading, time
from sidecar.assembly.app import App

close = App.close

async def closing(self):
    threading.Thread(target=time.sleep, args=(1000,), name="forgotten").start()
    await close(self)

App.close = closing
"""
STUCK_LOOP: Final = """
from sidecar.assembly.app import App

async def close(self):
    while True:
        pass

App.close = close
"""
STUCK_DRAIN: Final = """
import asyncio
from sidecar.proxy.client.connections import ClientConnections

async def drain(self, seconds):
    await asyncio.sleep(1000)

ClientConnections.drain = drain
"""
STUCK_ADMIN: Final = """
import asyncio
from aiohttp import web

async def cleanup(self):
    await asyncio.sleep(1000)

web.AppRunner.cleanup = cleanup
"""
# What hangs, the word of it in the log, and the exit code: 1 when the drain did not come to its end.
HANGING: Final = {
    "a task": (STUCK_FEED, "feed", 0),
    "the store": (STUCK_STORE, "App.close > close", 0),
    "a thread": (STUCK_THREAD, "forgotten", 0),
    "the loop": (STUCK_LOOP, "defect.py", 0),
    "the drain": (STUCK_DRAIN, "drain", 1),
    "the admin listener": (STUCK_ADMIN, "cleanup", 0),
}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
@pytest.mark.parametrize("what", HANGING)
def test_whatever_hangs_the_end_comes_and_tells_what_it_was(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, what: str, workers: int
) -> None:
    defect, word, code = HANGING[what]
    with with_defect(tmp_path, upstream, defect, **sections(redis, workers)) as sidecar:
        sidecar.ready()
        processes = [sidecar.process.pid, *sidecar.workers()]
        begun = time.monotonic()
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(30) == code
        assert time.monotonic() - begun < 1 + 15, "the drain, and a moment"
        sidecar.expected_code = code
        assert word in json.dumps(sidecar.record("shutdown_overdue", level="error"))
        assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_a_worker_that_does_not_go_is_killed_and_that_is_said(
    tmp_path: Path, upstream: Upstream, redis: RedisServer
) -> None:
    with running(tmp_path, upstream.url, **sections(redis, 2)) as sidecar:
        frozen, _ = sidecar.workers()
        os.kill(frozen, signal.SIGSTOP)
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(30) == 1
        sidecar.expected_code = 1
        assert sidecar.record("worker_killed", level="error")["worker"] == frozen
        assert not Path(f"/proc/{frozen}").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_signals_that_are_not_ours_are_logged_and_cut_nothing(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int
) -> None:
    upstream.answer = holding = Holding()
    with (
        running(tmp_path, upstream.url, **sections(redis, workers)) as sidecar,
        held(sidecar, holding, 1, REQUEST) as (connection,),
    ):
        processes = [sidecar.process.pid, *sidecar.workers()]
        for pid in processes:
            for number in IGNORED:
                os.kill(pid, number)
        for number in IGNORED:
            wait_until(lambda name=number.name: said(sidecar, name) == len(processes))  # type: ignore[misc]
        for pid in sidecar.workers():
            for number in OF_THE_PARENT:
                os.kill(pid, number)
                assert "parent" in sidecar.record("signal_ignored", signal=number.name, pid=pid)["detail"]
        assert [sidecar.process.pid, *sidecar.workers()] == processes
        holding.release.set()
        assert read_response(connection).body == b"/open"
    assert not sidecar.records("worker_died")


def said(sidecar: Sidecar, name: str) -> int:
    return sum(record["signal"] == name for record in sidecar.records("signal_ignored"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_to_the_whole_group_at_the_start_kills_nobody(
    tmp_path: Path, upstream: Upstream, redis: RedisServer, workers: int
) -> None:
    """Also not the workers that have just been started, and not while the configuration is read."""
    path, config = tmp_path / "sidecar.yaml", configuration(upstream.url, **sections(redis, workers))
    os.mkfifo(path)
    process = subprocess.Popen([*COMMAND, "serve", "--config", str(path)], stderr=subprocess.PIPE, process_group=0)
    try:
        with path.open("w") as file:  # it is open when the sidecar has come to read it
            for number in (*IGNORED, signal.SIGHUP):
                os.killpg(process.pid, number)
            file.write(yaml.safe_dump(config))
        lines, seen = events(process), []
        for line in lines:
            seen.append(line)
            if line["event"] == "listening":
                break
        admin = seen[-1]["admin"]
        while get(f"{admin}/readyz")[0] != 200:
            os.killpg(process.pid, signal.SIGHUP)
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        seen += lines
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert process.stderr
    process.stderr.close()
    rejected = [line for line in seen if line["event"] == "config_rejected"]
    assert rejected
    assert "pipe" in rejected[0]["faults"][0]
    assert not [line for line in seen if line["event"] == "worker_died"]


def test_what_nohup_ignores_stays_ignored(tmp_path: Path, upstream: Upstream) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(upstream.url)))
    with Sidecar(tmp_path, path, command=["nohup", *COMMAND]) as sidecar:
        sidecar.process.send_signal(signal.SIGHUP)
        sidecar.process.send_signal(signal.SIGUSR1)
        sidecar.record("signal_ignored", signal="SIGUSR1")
        assert said(sidecar, "SIGHUP") == 0


def test_sigterm_before_it_serves_ends_it_in_order(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    os.mkfifo(path)
    process = subprocess.Popen([*COMMAND, "serve", "--config", str(path)])
    with path.open("w"):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_second_sigterm_does_not_kill(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> None:
    """From the first to the last moment of the end."""
    with running(tmp_path, upstream.url, **sections(redis, 2)) as sidecar:
        while sidecar.process.poll() is None:
            sidecar.process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert sidecar.process.returncode == 0


def test_the_demo_ignores_them_too() -> None:
    ports = ["--port", str(free_port()), "--admin-port", str(free_port())]
    process = subprocess.Popen([*COMMAND, "demo", *ports], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    try:
        while "Ctrl-C" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        while "signal_ignored" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
