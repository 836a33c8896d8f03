"""Where a contender works, and what came of starting it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.certificate import Certificate
from benchmarks.machine import Process, Processes


@dataclass(frozen=True)
class Place:
    """A folder of its own, its core, and the port of the upstream (0 where there is none).

    `certificate`: the contender is to speak TLS with it, and nothing else.
    """

    processes: Processes
    folder: Path
    core: int
    upstream: int = 0
    certificate: Certificate | None = None

    def start(self, command: Sequence[str], core: int | None = None) -> Process:
        """Start a program here, or on another core; its output goes to a file of the folder. It ends with the section."""
        return self.processes.start(command, self.core if core is None else core, self.folder / "log")


@dataclass(frozen=True)
class Store:
    """The Redis of one contender, and a client of it that stays connected."""

    process: Process
    port: int
    client: "redis.Redis"

    def commands(self) -> int:
        """How many commands it has run, those within scripts too; not counted: this question."""
        stats: dict[str, Any] = self.client.info("commandstats")
        return sum(int(entry["calls"]) for name, entry in stats.items() if name != "cmdstat_info")

    def asked(self) -> tuple[int, int]:
        """How many messages clients have sent, this one too, and how many scripts they have run (EVALSHA).

        A message is what one read from a socket gave: who waits for each answer makes a round trip for each.
        """
        stats: dict[str, Any] = self.client.info("all")
        scripts = stats.get("cmdstat_evalsha", {"calls": 0})
        return int(stats["total_reads_processed"]), int(scripts["calls"])


@dataclass(frozen=True)
class Started:
    """What listens on `port`: its processes, which are what is measured, and its Redis, which is shown apart.

    `admin`: the port of `/metrics`, for ours.
    """

    port: int
    processes: tuple[Process, ...]
    store: Store | None = None
    admin: int = 0

    def cpu_seconds(self) -> float:
        """User and system time of all, in steps of 10 ms."""
        return sum(process.cpu_seconds() for process in self.processes)

    def resident_mib(self) -> float:
        """Resident memory, in MiB."""
        return sum(process.resident_mib() for process in self.processes)

    def stop(self) -> None:
        """End it before its section does."""
        for process in (*self.processes, *([self.store.process] if self.store else [])):
            process.stop()

    def forget_peak(self) -> None:
        """Begin the peak anew."""
        for process in self.processes:
            process.forget_peak()

    def peak_mib(self) -> float:
        """The most that was resident since, in MiB."""
        return sum(process.peak_mib() for process in self.processes)
