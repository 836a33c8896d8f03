"""The machine: descriptors, memory, CPUs and the clock."""

import math
import os
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sidecar.config.settings import Settings
from sidecar.core.capacity import affordable
from sidecar.doctor.findings import Finding, bad, doubtful, good
from sidecar.runtime.memory import cgroup_limit, free_memory, of_groups, sizes

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROCESS: Final = Path("/proc/self")
_KEPT: Final = (
    64  # descriptors of a worker besides those for clients and the API: Redis (33), files, the admin listener
)
_MIB: Final = 1024**2
_EARLIEST: Final = 1704067200.0  # 2024-01-01: no sidecar ran before


def look(settings: Settings, now: float) -> Iterator[Finding]:
    """Whether the machine, as this process sees it, has what the configuration needs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # the sidecar raises its soft limit to this one
    yield descriptors(settings, None if most == resource.RLIM_INFINITY else most)
    yield memory(settings.workers, sizes().get("VmRSS", 0), cgroup_limit())
    if settings.limits.memory is not None:
        yield budget(settings.limits.memory, free_memory(settings.workers))
    yield cpus(settings.workers, cpus_usable())
    yield clock(now)


def descriptors(settings: Settings, most: int | None) -> Finding:
    """Whether `most` open files are enough for each worker; `None` stands for no limit."""
    check, wanted, upstream = "open files", settings.limits.connections, settings.upstream.max_connections
    if most is None:
        return good(check, "no limit")
    allowed = affordable(wanted, upstream, max(0, most - _KEPT))
    if allowed < wanted:
        found = f"the limit of {most} allows a worker {allowed} of limits.connections ({wanted})"
        needed = wanted + wanted // 8 + 8 + upstream + _KEPT
        return doubtful(
            check, found, f"raise it to {needed} (LimitNOFILE= of systemd, ulimit -n), or lower limits.connections"
        )
    return good(check, f"the limit of {most} is enough for {wanted} clients and {upstream} connections to the API")


def memory(workers: int, each: int, limit: int | None) -> Finding:
    """Whether the limit of the container is enough; `each` is what a process takes at its start. In bytes."""
    check, processes = "memory", workers + (workers > 1)  # several workers have a parent
    needed = processes * each
    base = f"{processes} process{'es' if processes > 1 else ''} of about {each // _MIB} MiB at the start"
    if limit is None:
        return good(check, f"no limit of a container; {base}")
    found = f"the container's limit is {limit // _MIB} MiB; {base}"
    remedy = f"raise the memory limit to {4 * needed // _MIB} MiB, or lower workers"
    if limit <= needed:
        return bad(check, found, remedy)
    return (
        doubtful(check, f"{found}, so little is left for clients", remedy) if limit < 2 * needed else good(check, found)
    )


def budget(configured: int, free: int) -> Finding:
    """Whether a worker may hold `configured` bytes for its clients, where `free` are left for it."""
    check, found = (
        "limits.memory",
        f"{configured // _MIB} MiB for the clients of a worker, which has {max(0, free) // _MIB} MiB",
    )
    if configured > free:
        return doubtful(check, found, "lower limits.memory, or leave it out: it follows from the limit then")
    return good(check, found)


def cpus(workers: int, usable: float) -> Finding:
    """Whether there are as many CPUs as workers, each of which can use one."""
    found = f"{workers} worker{'s' if workers > 1 else ''}, {usable:g} CPU{'s' if usable != 1 else ''}"
    if workers > math.ceil(usable):
        return doubtful("CPUs", found, f"lower workers to {math.ceil(usable)}, or raise the CPU limit")
    return good("CPUs", found)


def clock(now: float) -> Finding:
    """Whether the clock can be right. Tokens depend on it."""
    text = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now < _EARLIEST:
        return bad(
            "clock", f"it says {text}, which is before this version existed", "set the clock (timedatectl set-ntp true)"
        )
    return good("clock", text)


def cpus_usable(cgroups: Path = _CGROUPS, process: Path = _PROCESS) -> float:
    """How many CPUs this process may use: those of the machine, or fewer by its affinity or its cgroup (version 2)."""
    found = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for text in of_groups(cgroups, process, "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            found = min(found, int(quota) / int(period))
    return found
