"""How much memory a process may use, and what of it a worker may hold for its clients.

The limits: that of the container (its cgroup, version 1 or 2), those of the process (`RLIMIT_AS`, `RLIMIT_DATA`), and without
one half of the machine's memory.
"""

import contextlib
import logging
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from sidecar.config.settings import Settings
from sidecar.core.capacity import fitting, for_clients, price

log: Final = logging.getLogger("sidecar")

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROCESS: Final = Path("/proc/self")
_NO_LIMIT: Final = 1 << 60  # what version 1 says without a limit, or more
_RLIMITS: Final = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))


class Memory:
    """The memory that a worker, one of `workers`, can hold for its clients, as found when it starts. Create it before the parts
    of the worker."""

    def __init__(self, workers: int) -> None:
        self._for_clients = for_clients(free_memory(workers))
        self._told = 0

    def within(self, settings: Settings) -> Settings:
        """The settings with `limits.memory`, which follows from what the process may use if it is not configured, and with no
        more connections than fit into it; a log line tells the operator when they are fewer than configured."""
        limits = settings.limits
        memory = limits.memory or self._for_clients
        connections = fitting(limits.connections, memory, price(secure=settings.tls is not None))
        if connections < limits.connections and connections != self._told:
            self._told = connections
            figures = {"wanted": limits.connections, "limit": connections, "memory": memory}
            log.warning("connections_limited", extra={"detail": "raise the memory limit, or limits.memory", **figures})
        changed = limits.model_copy(update={"memory": memory, "connections": connections})
        return settings.model_copy(update={"limits": changed})


def free_memory(workers: int, *, cgroups: Path = _CGROUPS, process: Path = _PROCESS) -> int:
    """The bytes that each of so many workers may still use; negative when the limit is too low for them. Several workers have
    a parent, which takes as much as one of them at its start."""
    used = sizes(process)
    resident = used.get("VmRSS", 0)
    processes = workers + (workers > 1)
    shared = cgroup_limit(cgroups, process)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if shared is None else shared
    free = (total - processes * resident) // workers
    for which, name in _RLIMITS:
        most, _ = resource.getrlimit(which)
        if most != resource.RLIM_INFINITY:
            free = min(free, most - used.get(name, 0))
    return free


def cgroup_limit(cgroups: Path = _CGROUPS, process: Path = _PROCESS) -> int | None:
    """The lowest limit of memory, in bytes, of the cgroup of this process and those above it; `None` without one."""
    return min(_limits(cgroups, process), default=None)


def _limits(cgroups: Path, process: Path) -> Iterator[int]:
    for text in of_groups(cgroups, process, "memory.max", "memory.limit_in_bytes"):
        with contextlib.suppress(ValueError):  # `max` is no number
            limit = int(text)
            if limit < _NO_LIMIT:
                yield limit


def of_groups(cgroups: Path, process: Path, file: str, of_version_1: str = "") -> Iterator[str]:
    """The content of a file of the process's cgroup and of those above it, up to the root; `of_version_1` is the name of that
    of the memory controller. In a container the root may be its own cgroup, although the name says where the host has it."""
    with contextlib.suppress(OSError):
        for line in (process / "cgroup").read_text().splitlines():
            number, controllers, name = line.split(":", 2)
            inner = PurePosixPath(name.lstrip("/"))
            if number == "0":  # version 2, or its part of a mixed hierarchy, which has no limits of memory then
                places = [cgroups / each / file for each in (inner, *inner.parents)]
            elif of_version_1 and "memory" in controllers.split(","):
                places = [cgroups / "memory" / each / of_version_1 for each in (inner, *inner.parents)]
            else:
                continue
            for place in places:
                with contextlib.suppress(OSError):
                    yield place.read_text().strip()


def sizes(process: Path = _PROCESS) -> dict[str, int]:
    """Sizes of this process by their names in `/proc`, such as `VmRSS`, in bytes; empty where the system does not say."""
    with contextlib.suppress(OSError):
        found = re.findall(r"^(Vm\w+):\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
        return {name: int(size) * 1024 for name, size in found}
    return {}
