"""Processes: started on a core, watched through `/proc`, ended with the harness."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SCRIPT = Path(__file__).with_name("orders.lua")
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def find(program: str) -> str | None:
    """The path of a program: from the environment variable of its name (`ENVOY`), or from `PATH`."""
    return os.environ.get(program.upper()) or shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Process:
    """A process and its children, on one core."""

    def __init__(self, command: Sequence[str], core: int, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def wait_for_port(self, port: int) -> None:
        """Return when something listens. Raises `RuntimeError` with the process's output when it ends instead."""
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def _family(self) -> Iterator[int]:
        wanted = {self._process.pid}
        yield self._process.pid
        parents = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        while children := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
            wanted |= children
            yield from children

    def cpu_seconds(self) -> float:
        """User and system time of the process and its living children."""
        ticks = 0
        for pid in self._family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def resident_mib(self) -> float:
        """Resident memory of the largest of its processes, in MiB."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self._family()]
        lines = [line for text in texts for line in text.splitlines() if line.startswith("VmRSS:")]
        return max(int(line.split()[1]) / 1024 for line in lines)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def load(url: str, token: str, seconds: float, connections: int, core: int) -> tuple[int, float]:
    """Run wrk over a thousand paths: the number of requests and their rate.

    Raises `RuntimeError` for any answer but 2xx, or a broken socket.
    """
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(SCRIPT)]
    done = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {token}", url], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"not every request was answered well:\n{done.stdout}")
    lines = {line.split(":")[0].strip(): line for line in done.stdout.splitlines()}
    requests = next(int(line.split()[0]) for line in done.stdout.splitlines() if " requests in " in line)
    return requests, float(lines["Requests/sec"].split(":")[1])
