"""What the system says about this process: CPU time, memory, file descriptors and start."""

import os
import resource
import time
from pathlib import Path
from typing import Final

from sidecar.ops.snapshots import Readings

_PROC: Final = Path("/proc")
_NAME: Final = "sidecar_process_"


class Process:
    """This process. `name` is the value of the label `process`: `parent`, or `worker-` and its number. What the system does not
    tell has no series."""

    def __init__(self, name: str, proc: Path = _PROC) -> None:
        self._name = name
        self._own = proc / "self"
        self._begun = _begun(proc)

    def __repr__(self) -> str:
        return f"<Process {self._name}>"

    def readings(self) -> Readings:
        """The metrics of this process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        values: dict[str, float] = {"max_fds": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])}
        if values["max_fds"] < 0:
            values["max_fds"] = float("inf")
        if self._begun is not None:
            values["start_time_seconds"] = self._begun
        try:
            total, resident = map(int, (self._own / "statm").read_text().split()[:2])
            page = os.sysconf("SC_PAGE_SIZE")
            values |= {"virtual_memory_bytes": total * page, "resident_memory_bytes": resident * page}
            values["open_fds"] = _opened(self._own / "fd")
        except (OSError, ValueError):
            pass  # another system than Linux, or no descriptor is left
        return Readings(
            {f"{_NAME}cpu_seconds_total": {self._name: used.ru_utime + used.ru_stime}},
            {f"{_NAME}{name}": {self._name: value} for name, value in values.items()},
        )


def _opened(folder: Path) -> int:
    """The number of open descriptors. Linux 6.2 tells it as the size of the folder; counting ten thousand takes 10 ms."""
    return folder.stat().st_size or len(os.listdir(folder)) - 1  # noqa: PTH208  without the one that lists them


def _begun(proc: Path) -> float | None:
    """When this process began, in epoch seconds."""
    try:
        # The name of the program, in parentheses, may contain anything; the start is field 22 (proc_pid_stat(5)).
        ticks = int((proc / "self" / "stat").read_text().rpartition(")")[2].split()[19])
        boot = next(line for line in (proc / "stat").read_text().splitlines() if line.startswith("btime "))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, LookupError, StopIteration):
        return time.time()
