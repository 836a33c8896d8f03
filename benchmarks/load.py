"""The requests: a load by wrk, and single ones to see that a contender does its job."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import OTHER_CORE, Invalid, find

PATH = "/orders/1"
ORDERS, TOKENS = (Path(__file__).with_name(f"{name}.lua") for name in ("orders", "tokens"))


class Load(NamedTuple):
    """What wrk reports: the number of requests that were answered, and their rate per second."""

    requests: int
    rate: float


def load(
    port: int,
    seconds: int,
    connections: int,
    *,
    bearer: str | None = None,
    script: Path = ORDERS,
    more: Sequence[str] = (),
    refused: bool = False,
) -> Load:
    """Run wrk with one thread: GET over a thousand paths, or what else `script` says. Raises `Invalid` for a broken socket or
    an unexpected status.

    `more`: the arguments of the script, which are explained there. `refused`: every answer is to be an error, else
    none. wrk counts answers from 400 on as errors; that nobody redirects is seen by `ask` before.
    """
    command = ["taskset", "-c", str(OTHER_CORE), find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-H", f"Authorization: Bearer {bearer}"] if bearer else []
    command += ["-s", str(script), f"http://127.0.0.1:{port}{PATH}", "--", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    requests, rate, errors = 0, 0.0, 0
    for line in done.stdout.splitlines():
        if "Socket errors" in line:
            raise Invalid(line.strip())
        if "Non-2xx" in line:
            errors = int(line.split()[-1])
        if " requests in " in line:
            requests = int(line.split()[0])
        if line.startswith("Requests/sec:"):
            rate = float(line.split()[1])
    if done.returncode or not requests:
        raise Invalid(f"wrk ended with {done.returncode} and {requests} requests answered: {done.stderr.strip()}")
    if errors != (requests if refused else 0):
        raise Invalid(f"{errors} of {requests} answers are errors")
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
