"""Where a contender works."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Process, Processes


@dataclass(frozen=True)
class Place:
    """A folder of its own, its core, and the ports of the upstream and of Redis (0 where there is none)."""

    processes: Processes
    folder: Path
    core: int
    upstream: int = 0
    redis: int = 0

    def start(self, command: Sequence[str]) -> Process:
        """Start a program here; its output goes to a file of the folder. It ends with the harness."""
        return self.processes.start(command, self.core, self.folder / "log")
