"""The requests: a load by wrk, and single ones to see that a contender does its job."""

import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import OTHER_CORE, Invalid, find

PATH = "/orders/1"
_SCRIPT = Path(__file__).with_name("orders.lua")


class Load(NamedTuple):
    """What wrk reports: the number of requests that were answered, and their rate per second."""

    requests: int
    rate: float


def load(port: int, token: str, seconds: int, connections: int) -> Load:
    """Run wrk over a thousand paths, with one thread. Raises `Invalid` for an error status or a broken socket.

    wrk counts answers from 400 on as errors; that nobody redirects is seen by `ask` before.
    """
    command = ["taskset", "-c", str(OTHER_CORE), find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", str(_SCRIPT), "-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}{PATH}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    requests, rate = 0, 0.0
    for line in done.stdout.splitlines():
        if "Non-2xx" in line or "Socket errors" in line:
            raise Invalid(line.strip())
        if " requests in " in line:
            requests = int(line.split()[0])
        if line.startswith("Requests/sec:"):
            rate = float(line.split()[1])
    if done.returncode or not requests:
        raise Invalid(f"wrk ended with {done.returncode} and {requests} requests answered: {done.stderr.strip()}")
    return Load(requests, rate)


def ask(port: int, bearer: str | None = None, path: str = PATH, form: bytes | None = None) -> tuple[int, str]:
    """One GET, or POST of a form: status and text. Status 0 when nobody answers."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", form, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()
    except OSError:
        return 0, ""
