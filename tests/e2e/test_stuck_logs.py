"""Whoever reads the logs slowly, not at all, or no more, holds up nobody."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.process import COMMAND, SECRET, Sidecar, configuration, get
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

REFUSED = 3000
LONG = "/" + "x" * 1000  # so that the lines of so many are far more than what may wait
CLIENT = {"client_id": "reporting", "client_secret": SECRET}


class Unread(Sidecar):
    """A sidecar whose stderr nobody reads after the start, until `read` is set."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.read = threading.Event()
        super().__init__(folder, config)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.logs.append(line)
            self._lines.put(line)
            if '"listening"' in line:
                self.read.wait()
        self._lines.put(None)

    def stop(self, *, expect: int | None = 0) -> None:
        """As ever, after what nobody read was read."""
        self.read.set()
        super().stop(expect=expect)


def refuse(sidecar: Sidecar, count: int) -> None:
    """So many requests without a token, on one connection."""
    connection = http.client.HTTPConnection(*sidecar.address, timeout=20)
    for _ in range(count):
        connection.request("GET", LONG)
        response = connection.getresponse()
        assert response.status == 401
        response.read()
    connection.close()


@pytest.fixture
def settings(upstream: Upstream, workers: int) -> Iterator[dict[str, Any]]:
    """The configuration of so many workers."""
    config = configuration(upstream.url, workers=workers, timeouts={"drain": "1s"})
    if workers == 1:
        yield config
        return
    with RedisServer() as server:
        yield {**config, "store": {"url": server.url}}


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_waits_for_a_pipe_that_nobody_reads(tmp_path: Path, settings: dict[str, Any], workers: int) -> None:
    with Unread(tmp_path, settings) as sidecar:
        sidecar.ready(within=20)
        token = sidecar.token()
        for _ in range(2 * workers):
            refuse(sidecar, REFUSED)
        assert get(f"{sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 200
        assert get(f"{sidecar.public}/oauth/revoke", {"token": token, **CLIENT})[0] == 200, "which is logged, too"
        assert get(f"{sidecar.admin}/healthz")[0] == 200
        assert get(f"{sidecar.admin}/readyz")[0] == 200
        assert sidecar.metric("sidecar_log_lines_dropped_total") > 0
        begun = time.monotonic()
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(20) == 0
        assert time.monotonic() - begun < 1 + 5, "the drain, and a moment"
    assert all(json.loads(line) for line in sidecar.logs[:-1]), "each line is whole, but for one that the end cut"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gap_is_told_when_somebody_reads_again(tmp_path: Path, settings: dict[str, Any], workers: int) -> None:
    with Unread(tmp_path, settings) as sidecar:
        sidecar.ready(within=20)
        for _ in range(2 * workers):
            refuse(sidecar, REFUSED)
        assert sidecar.metric("sidecar_log_lines_dropped_total") > 0
        sidecar.read.set()

        def told() -> int:
            return sum(each["lines"] for each in sidecar.records("log_lines_dropped"))

        refused = 2 * workers * REFUSED
        wait_until(lambda: len(sidecar.records("request_refused")) + told() == refused, within=30)
        assert told() == sidecar.metric("sidecar_log_lines_dropped_total")
        refuse(sidecar, 1)
        wait_until(lambda: len(sidecar.records("request_refused")) + told() == refused + 1)
        assert {each["level"] for each in sidecar.records("log_lines_dropped")} == {"warning"}
        assert told() == sidecar.metric("sidecar_log_lines_dropped_total"), "no line more"
    assert all(json.loads(line) for line in sidecar.logs), "each line is whole"


@pytest.mark.parametrize("workers", [2])
def test_lines_that_a_dead_worker_dropped_stay_counted(tmp_path: Path, settings: dict[str, Any]) -> None:
    with Unread(tmp_path, settings) as sidecar:
        sidecar.ready(within=20)
        for _ in range(4):
            refuse(sidecar, REFUSED)
        dropped = sidecar.metric("sidecar_log_lines_dropped_total")
        assert dropped > 0
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == sidecar.process.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        sidecar.ready(within=30)
        assert sidecar.metric("sidecar_log_lines_dropped_total") >= dropped


def start_without_reading(folder: Path, config: Mapping[str, Any], redirection: str) -> "subprocess.Popen[bytes]":
    """A sidecar whose streams a shell has redirected; its ports are those of the configuration."""
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    command = f'exec "$@" {redirection}'
    return subprocess.Popen(["bash", "-c", command, "bash", *COMMAND, "serve", "--config", str(path)])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("redirection", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "2> >(exec 0<&-)"])
def test_a_stderr_that_takes_nothing_costs_lines_only(
    tmp_path: Path, settings: dict[str, Any], redirection: str
) -> None:
    """Closed at the start, a full disk, a reader that is gone. A descriptor that is closed is no other file's, or socket's."""
    public, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    config = {**settings, "listen": public, "admin": {"listen": admin}}
    process = start_without_reading(tmp_path, config, redirection)

    def ready() -> bool:
        assert process.poll() is None
        try:
            return get(f"http://{admin}/readyz")[0] == 200
        except OSError:
            return False

    try:
        wait_until(ready, within=30)
        for _ in range(700):
            assert get(f"http://{public}{LONG}")[0] == 401
        body = get(f"http://{public}/oauth/token", {"grant_type": "client_credentials", **CLIENT})[1]
        token = json.loads(body)["access_token"]
        assert get(f"http://{public}/orders", Authorization=f"Bearer {token}")[0] == 200
        for number in range(3):
            there = str(Path(f"/proc/{process.pid}/fd/{number}").readlink())
            assert not there.startswith(("socket:", "anon_inode:")), (number, there)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize("workers", [1])
def test_a_stderr_that_is_a_socket(tmp_path: Path, settings: dict[str, Any]) -> None:
    """As systemd gives one."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(settings))
    ours, theirs = socket.socketpair()
    with ours:
        process = subprocess.Popen([*COMMAND, "serve", "--config", str(path)], stderr=theirs)
        theirs.close()
        reader = ours.makefile("r")
        listening = next(record for line in reader if (record := json.loads(line))["event"] == "listening")
        for _ in range(2000):  # nobody reads
            assert get(f"{listening['public']}{LONG}")[0] == 401
        assert get(f"{listening['admin']}/healthz")[0] == 200
        flags = Path(f"/proc/{process.pid}/fdinfo/2").read_text().partition("flags:")[2].split()[0]
        assert not int(flags, 8) & os.O_NONBLOCK
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        reader.close()


@pytest.mark.parametrize("workers", [1])
def test_what_can_be_written_at_the_end_is_written(tmp_path: Path, settings: dict[str, Any]) -> None:
    with Sidecar(tmp_path, settings) as sidecar:
        sidecar.ready()
        refuse(sidecar, 900)
    assert [json.loads(line)["event"] for line in sidecar.logs].count("request_refused") == 900
    assert len(sidecar.records("stopped")) == 1
    assert not sidecar.records("log_lines_dropped")
