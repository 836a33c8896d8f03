"""Processes: started on a core, watched through `/proc`, ended with the section that started them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

THEIR_CORE, OTHER_CORE = 0, 1  # that of the contender; that of wrk, the upstream and Redis
_TICKS = os.sysconf("SC_CLK_TCK")


class Invalid(Exception):
    """The measurement cannot be made, or would say nothing. The text says why."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def find(program: str) -> str | None:
    """The path of a program: from the environment variable of its name (`ENVOY`), or from `PATH`."""
    return os.environ.get(program.upper()) or shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Process:
    """A process on one core, leader of a session of its own: Ctrl-C reaches the harness alone, which then ends it."""

    def __init__(self, command: Sequence[str], core: int, log: Path) -> None:
        self.command = command
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],  # which becomes the command: the same process id
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for_port(self, port: int) -> None:
        """Return when something listens there. Raises `Invalid` with the end of its output when nothing does."""
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = self._log.read_text(errors="replace")[-2000:]
                raise Invalid(f"{self._process.args!r} does not listen:\n{output}")
            time.sleep(0.05)

    def _stats(self) -> Iterator[tuple[int, list[str]]]:
        """Each living process of the session, with its fields of `/proc/PID/stat` from the state on."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self._process.pid:
                    yield int(entry.name), fields

    def pids(self) -> list[int]:
        """The ids of its living processes."""
        return [pid for pid, _ in self._stats()]

    def cpu_seconds(self) -> float:
        """User and system time of the process and its living children, in steps of the kernel's tick (10 ms)."""
        return sum(int(fields[11]) + int(fields[12]) for _, fields in self._stats()) / _TICKS

    def resident_mib(self) -> float:
        """Resident memory of the largest of its processes, in MiB."""
        return self._largest("VmRSS")

    def forget_peak(self) -> None:
        """Begin the peak of resident memory anew, from what is resident now."""
        for pid, _ in self._stats():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The most that was resident since `forget_peak`, of the largest of its processes, in MiB."""
        return self._largest("VmHWM")

    def _largest(self, field: str) -> float:
        texts = [Path(f"/proc/{pid}/status").read_text() for pid, _ in self._stats()]
        lines = [line for text in texts for line in text.splitlines() if line.startswith(f"{field}:")]
        return max(int(line.split()[1]) / 1024 for line in lines)

    def stop(self) -> None:
        """SIGTERM to the leader; SIGKILL to whatever of its session is left then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(10)
        for pid, _ in list(self._stats()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


class Processes:
    """Everything that the harness starts. Leaving it ends all of them, whatever happened, the last started first."""

    def __init__(self) -> None:
        self._started: list[Process] = []

    def start(self, command: Sequence[str], core: int, log: Path) -> Process:
        """Start one; `log` is the file for its output."""
        process = Process(command, core, log)
        self._started.append(process)
        return process

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # all unwind, as Ctrl-C does
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them
        while self._started:
            self._started.pop().stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
