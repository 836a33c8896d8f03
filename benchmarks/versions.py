"""What was measured, and on what."""

import os
import platform
import re
import ssl
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import sidecar
from benchmarks.contenders import NJS
from benchmarks.machine import find


def _version(program: str, option: str, pattern: str) -> str | None:
    """The version that a program says it has; `None` when it is not installed."""
    path = find(program)
    if path is None:
        return None
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def _njs() -> str | None:
    """The module has no option to ask: its version stands in it as text."""
    if not NJS.exists():
        return None
    found = set(re.findall(rb"(?<!GLIBC_)(?<![\d.])(\d\.\d+\.\d+)\x00", NJS.read_bytes()))
    return found.pop().decode() if len(found) == 1 else "unknown"


def versions() -> str:
    """Of everything that takes part, on one line."""
    found = {
        "sidecar": sidecar.__version__,
        "nginx": _version("nginx", "-v", r"nginx/([\w.]+)"),
        "njs": _njs(),
        "HAProxy": _version("haproxy", "-v", r"version ([\d.]+)"),
        "Envoy": _version("envoy", "--version", r"/(\d[\w.]*)/"),
        "Redis server": _version("redis-server", "--version", r"v=([\w.]+)"),
        "wrk": _version("wrk", "-v", r"^wrk (?:debian/)?(\S+)"),
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        **{name: metadata.version(name) for name in ("uvloop", "httptools", "aiohttp", "PyJWT", "redis")},
    }
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def machine() -> str:
    """The date, the cores and their model, and how busy the machine was before (load average of a minute)."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} × {models[0] if models else platform.machine()}, "
        f"Linux {platform.release()}, load average {os.getloadavg()[0]:.1f} before the start"
    )
