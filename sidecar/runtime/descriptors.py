"""File descriptors of a process: the three standard ones, and the number of connections that the rest allows."""

import contextlib
import logging
import os
import resource
from pathlib import Path
from typing import Final

from sidecar.config.settings import Settings
from sidecar.core.capacity import affordable

log: Final = logging.getLogger("sidecar")

_KEPT: Final = 32  # descriptors for everything besides client and upstream connections

_PER_PARTITION: Final = 9  # connections of a worker to each partition of a Cluster, at most


def occupy_standard_descriptors() -> None:
    """Open /dev/null in place of stdin, stdout and stderr where they are closed. Otherwise the next file or socket would get
    one of these numbers, and receive the output that is written to it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # equals `number`: the lower ones are open
            os.set_inheritable(lowest, True)  # noqa: FBT003  the signature of the standard library


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard limit: each connection costs one or two, and 1024 is a usual default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems have a limit that they do not report
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Descriptors:
    """The descriptors that this process can use for connections, as counted when it starts."""

    def __init__(self) -> None:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = most
        used = sum(1 for _ in Path("/dev/fd").iterdir())
        self._free = None if most == resource.RLIM_INFINITY else most - used - _KEPT
        self._told = 0

    def within(self, settings: Settings) -> Settings:
        """The settings, with no more connections than there are descriptors for; a log line tells the operator when they are
        fewer than configured. Clients cannot use up the descriptors of the admin listener, Redis and the certificate files."""
        limits = settings.limits
        if self._free is None:
            return settings
        free = self._free - _PER_PARTITION * (settings.store.partitions if settings.store.clustered else 0)
        connections = affordable(limits.connections, settings.upstream.max_connections, free)
        if connections == limits.connections:
            return settings
        if connections != self._told:
            self._told = connections
            detail = "raise the limit of open files, or lower limits.connections"
            figures = {"wanted": limits.connections, "limit": connections, "open_files": self._most}
            log.warning("connections_limited", extra={"detail": detail, **figures})
        return settings.model_copy(update={"limits": limits.model_copy(update={"connections": connections})})
