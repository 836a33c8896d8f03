"""A cgroup with a limit of memory, where this machine allows to make one."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path("/sys/fs/cgroup")
_ENTER = "import os, sys; open({procs!r}, 'w').write(str(os.getpid())); from sidecar.cli import main; main()"


class MemoryCgroup(NamedTuple):
    """A folder below the root of the hierarchy, and the files that version 1 or 2 has in it."""

    folder: Path
    limit: str
    most: str
    kills: str

    @property
    def command(self) -> Sequence[str]:
        """Runs `sidecar` in the cgroup from its first step on."""
        return (sys.executable, "-c", _ENTER.format(procs=str(self.folder / "cgroup.procs")))

    @property
    def most_used(self) -> int | None:
        """The most bytes that were used at a time, if the system tells."""
        with contextlib.suppress(OSError):
            return int((self.folder / self.most).read_text())
        return None


_VERSIONS: Final = (
    (_ROOT, "memory.max", "memory.peak", "memory.events"),
    (_ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
)


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup | None]:
    """A cgroup whose processes may use `limit` bytes together, without swap; `None` where none can be made."""
    made = _make(limit)
    try:
        yield made
    finally:
        if made is not None:
            deadline = time.monotonic() + 5
            while made.folder.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):  # the kernel still counts the process that ended
                    made.folder.rmdir()
                time.sleep(0.01)


def _make(limit: int) -> MemoryCgroup | None:
    for root, *files in _VERSIONS:
        cgroup = MemoryCgroup(root / f"sidecar-test-{os.getpid()}", *files)
        if not (root / "cgroup.procs").exists():
            continue  # no hierarchy is mounted here
        try:
            cgroup.folder.mkdir()
        except OSError:
            continue
        try:
            (cgroup.folder / cgroup.limit).write_text(str(limit))
        except OSError:
            cgroup.folder.rmdir()
            continue
        for swap in ("memory.swap.max", "memory.swappiness"):
            with contextlib.suppress(OSError):
                (cgroup.folder / swap).write_text("0")
        return cgroup
    return None
