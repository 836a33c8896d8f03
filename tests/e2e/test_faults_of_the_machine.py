"""What clients see when the disk for the log is full, nobody reads the log, descriptors run out, or the clock is stepped.

As in `test_faults_of_redis`, every kind of client asks every worker all the time, and no revoked or invalid token is admitted.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.process import COMMAND, Sidecar, get
from tests.support.raw import read_response
from tests.support.traffic import CLIENT
from tests.support.waiting import wait_until
from tests.support.world import QUICK, World, told, world

pytestmark = pytest.mark.timeout(120)
CLOCK: Final = next(iter([*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), Path("/nowhere/libfaketime.so.1")]))


# The log.


class Unread(Sidecar):
    """Nobody reads its log while `stalled` is set."""

    def __init__(self, folder: Path, config: Path | Mapping[str, Any], command: Sequence[str] = COMMAND) -> None:
        self.reading = threading.Event()
        self.reading.set()
        super().__init__(folder, config, command)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.logs.append(line)
            self._lines.put(line)
            self.reading.wait()
        self._lines.put(None)


def dropped(sidecar: Sidecar) -> int:
    return int(sidecar.metric("sidecar_log_lines_dropped_total"))


def write_much(sidecar: Sidecar) -> None:
    """Refused requests, each of which is logged, until lines are dropped."""
    connection = http.client.HTTPConnection(*sidecar.address, timeout=20)
    with contextlib.closing(connection):
        while not dropped(sidecar):
            for _ in range(500):
                connection.request("GET", "/" + "x" * 1000)
                connection.getresponse().read()


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_reads_the_log(tmp_path: Path, workers: int) -> None:
    with world(tmp_path, workers=workers, store=QUICK, kind=Unread) as it, it.probes() as probes:
        probes.settle()
        assert isinstance(it.sidecar, Unread)
        probes.begin()
        it.sidecar.reading.clear()
        write_much(it.sidecar)
        probes.lasts(1)
        it.sidecar.reading.set()
        recovery = probes.recover()
        it.sidecar.record("log_lines_dropped", within=10)
    told(f"the log's reader stopped, {workers} w.", probes, recovery)
    assert probes.faults == []


class Logging(Sidecar):
    """Its log goes to a file on a disk of 256 KiB."""

    def _wait_for_start(self) -> tuple[str, str]:
        log = Path(self.process.args[4])  # type: ignore[index,arg-type]
        wait_until(lambda: log.exists() and '"listening"' in log.read_text(), within=30)
        record = next(
            found for each in log.read_text().splitlines() if (found := json.loads(each))["event"] == "listening"
        )
        return record["public"], record["admin"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_the_disk_of_the_log_is_full(tmp_path: Path, disk: Path, workers: int) -> None:
    """Lines are lost, and nothing else; when there is room again, they are written again."""
    log, filler = disk / "log", disk / "filler"
    command = ["bash", "-c", 'log=$1; shift; exec "$@" 2>>"$log"', "bash", str(log), *COMMAND]
    with world(tmp_path, workers=workers, store=QUICK, kind=Logging, command=command) as it, it.probes() as probes:
        probes.settle()
        probes.begin()
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as full:
            while full.write(bytes(4096)):
                pass
        size = log.stat().st_size
        wait_until(lambda: log.stat().st_size - size < 4096)
        probes.lasts(3)
        filler.unlink()
        grown = log.stat().st_size
        wait_until(lambda: log.stat().st_size > grown + 4096)
        log.write_bytes(b"")  # as a rotation by copying does it, before the disk is full by itself
        recovery = probes.recover()
    told(f"the disk of the log full, {workers} w.", probes, recovery)
    assert probes.faults == []


# Descriptors.


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_256_descriptors_and_400_clients(tmp_path: Path, workers: int) -> None:
    """Who is there goes on. Who comes too many is told so (503) or closed at once, until the crowd has gone."""
    command = ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash", *COMMAND]
    with (
        world(tmp_path, workers=workers, store=QUICK, command=command) as it,
        it.probes(extra={"public": ["503", "cut"]}) as probes,
        contextlib.ExitStack() as stack,
    ):
        probes.settle()
        assert it.sidecar.record("connections_limited")["open_files"] == 256
        request = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {it.sidecar.token()}\r\n\r\n".encode()
        probes.begin()
        crowd = [stack.enter_context(socket.create_connection(it.sidecar.address, timeout=20)) for _ in range(400)]
        for client in crowd:
            with contextlib.suppress(ConnectionError):
                client.sendall(request)
        probes.lasts(4)
        assert get(f"{it.sidecar.admin}/healthz")[0] == 200
        statuses = {read_response(client).status for client in crowd}
        for client in crowd:
            client.close()
        recovery = probes.recover()
        assert {200} < statuses <= {200, 503, 0}
        assert not it.sidecar.records("accept_paused")
    told(f"256 descriptors, 400 clients, {workers} w.", probes, recovery)
    assert probes.faults == []


# The clock.


class Clock:
    """The wall clock of a sidecar, which a test steps. Its monotonic clock goes on."""

    def __init__(self, folder: Path) -> None:
        assert CLOCK.exists(), "install faketime"
        self._file = folder / "clock"
        self.step(0)
        set_ = {
            "LD_PRELOAD": str(CLOCK),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
        self.command = ["env", *(f"{name}={value}" for name, value in set_.items()), *COMMAND]

    def step(self, seconds: int) -> None:
        """So far from the real time, from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        os.replace(new, self._file)  # noqa: PTH105  in one step


HOUR: Final = 3600


def expired(it: World, token: str) -> bool:
    """Whether the token is refused as expired."""
    code, body = get(f"{it.sidecar.public}/orders", Authorization=f"Bearer {token}")
    return code == 401 and json.loads(body)["reason"] == "expired"


@pytest.mark.parametrize(
    ("step", "workers", "url"),
    [
        (HOUR, 2, ""),
        pytest.param(HOUR, 1, "memory://", marks=pytest.mark.faults),
        pytest.param(HOUR, 1, "", marks=pytest.mark.faults),
        pytest.param(-HOUR, 1, "", marks=pytest.mark.faults),
        pytest.param(-HOUR, 2, "", marks=pytest.mark.faults),
        pytest.param(-HOUR, 1, "memory://", marks=pytest.mark.faults),
    ],
)
def test_the_clock_is_stepped_and_set_right_again(tmp_path: Path, step: int, workers: int, url: str) -> None:
    """The wall clock decides when a token begins and ends, so some get 401. What was revoked stays so, when its token is valid
    again, too; and everything that counts time by itself goes on."""
    clock = Clock(tmp_path)
    store = {**QUICK, **({"url": url} if url else {})}
    with (
        world(tmp_path, workers=workers, store=store, command=clock.command) as it,
        it.probes(extra={"valid": ["401"]}) as probes,
    ):
        probes.settle()
        token, late, before = it.sidecar.token(), it.sidecar.token(), it.sidecar.workers()
        probes.begin()
        clock.step(step)
        if step > 0:
            wait_until(lambda: expired(it, token))
        probes.lasts(3)
        assert get(f"{it.sidecar.public}/orders", Authorization=f"Bearer {it.sidecar.token()}")[0] == 200
        assert get(f"{it.sidecar.public}/oauth/revoke", {"token": late, **CLIENT})[0] == 200
        if not url:
            it.sidecar.record("clock_differs")
        clock.step(0)
        recovery = probes.recover()
        assert get(f"{it.sidecar.public}/orders", Authorization=f"Bearer {token}")[0] == 200
        lately = {get(f"{it.sidecar.public}/orders", Authorization=f"Bearer {late}")[0] for _ in range(20)}
        assert lately == {401}, "although it seemed to have expired when it was revoked"
        assert it.sidecar.workers() == before
    told(f"clock stepped by {step // HOUR:+d} h, {url or 'Redis'}, {workers} w.", probes, recovery)
    assert probes.faults == []


@pytest.mark.faults
def test_a_worker_that_starts_while_its_clock_is_an_hour_ahead_forgets_nothing(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with (
        world(tmp_path, workers=2, store=QUICK, command=clock.command) as it,
        it.probes(extra={"valid": ["401"]}, everywhere=["cut"]) as probes,
    ):
        probes.settle()
        probes.begin()
        clock.step(HOUR)
        first = it.sidecar.workers()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(it.sidecar.workers()) == 2 and first not in it.sidecar.workers())
        it.sidecar.ready()
        clock.step(0)
        probes.recover()
    assert probes.faults == []
