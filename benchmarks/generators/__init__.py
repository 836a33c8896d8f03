"""Loads that wrk cannot make: programs of their own on the core of the load, that answer in JSON.

`python -m benchmarks.generators.NAME …`
"""

import json
import subprocess
import sys
from typing import Any

from benchmarks.machine import OTHER_CORE, Invalid


def command(name: str, *arguments: object) -> list[str]:
    """How to start one."""
    program = [sys.executable, "-m", f"benchmarks.generators.{name}", *map(str, arguments)]
    return ["taskset", "-c", str(OTHER_CORE), *program]


def generate(name: str, *arguments: object) -> dict[str, Any]:
    """Run one to its end; gives what it answers. Raises `Invalid` with its last words when it fails."""
    done = subprocess.run(command(name, *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Invalid(f"{name}: {words[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
