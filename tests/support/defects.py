"""A sidecar with a defect: lines of Python that run in each of its processes before anything else."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.process import Sidecar, configuration
from tests.support.upstream import Upstream

# A worker imports the main module of its parent, so the defect has to come with that.
_MAIN: Final = """
import defect

if __name__ == "__main__":
    from sidecar.cli import main

    main()
"""
# The worker whose process id is in the file `loop` beside it never comes back from a check.
LOOPING: Final = """
import os, pathlib
from sidecar.ops.key_watch import KeyWatch

check = KeyWatch.check

def loop(self, *arguments):
    mark = pathlib.Path(__file__).with_name("loop")
    while mark.exists() and mark.read_text() == str(os.getpid()):
        pass
    return check(self, *arguments)

KeyWatch.check = loop
"""


def command_with(folder: Path, defect: str) -> list[str]:
    """The command of a sidecar with that defect; its files are in the folder."""
    (folder / "defect.py").write_text(defect)
    main = folder / "main.py"
    main.write_text(_MAIN)
    return [sys.executable, str(main)]


@contextlib.contextmanager
def with_defect(
    folder: Path, upstream: Upstream, defect: str, *, once: str = "listening", **sections: Any
) -> Iterator[Sidecar]:
    """A sidecar with `configuration(upstream, **sections)`, which has come to the event `once`."""
    config = folder / "sidecar.yaml"
    config.write_text(yaml.safe_dump(configuration(upstream.url, **sections)))
    with Sidecar(folder, config, command=command_with(folder, defect), once=once) as sidecar:
        yield sidecar
