"""The requests: a load by wrk, and single ones to see that a contender does its job."""

import json
import secrets
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import OTHER_CORE, Invalid, find

PATH = "/orders/1"
ORDERS, INGRESS, TOKENS = (Path(__file__).with_name(f"{name}.lua") for name in ("orders", "ingress", "tokens"))
POSTED = 1024  # bytes of JSON


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
    tls: bool = False,
    close: bool = False,
) -> Load:
    """Run wrk with one thread: GET over a thousand paths, or what else `script` says. Raises `Invalid` for a broken socket or
    an unexpected status.

    `more`: the arguments of the script, which are explained there. `refused`: every answer is to be an error, else
    none. `close`: each request asks for the end of its connection, and wrk opens another. wrk counts answers from 400 on as
    errors; that nobody redirects is seen by `ask` before.
    """
    command = ["taskset", "-c", str(OTHER_CORE), find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-H", f"Authorization: Bearer {bearer}"] if bearer else []
    command += ["-H", "Connection: close"] if close else []
    command += ["-s", str(script), f"http{'s' if tls else ''}://127.0.0.1:{port}{PATH}", "--", *more]
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


def fresh() -> str:
    """The first argument of `INGRESS`: what makes the ids of one run differ from those of all others."""
    return secrets.token_hex(4)


def ask(
    port: int,
    bearer: str | None = None,
    path: str = PATH,
    form: bytes | None = None,
    *,
    document: object = None,
    trust: Path | None = None,
) -> tuple[int, str]:
    """One GET, or POST of a form or of a JSON document: status and text. Status 0 when nobody answers.

    `trust`: the certificate of who listens, when it speaks TLS.
    """
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    if document is not None:
        form, headers["Content-Type"] = json.dumps(document).encode(), "application/json"
    url = f"http{'s' if trust else ''}://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, form, headers)  # noqa: S310  http or https
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if trust:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=trust)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


def closes(port: int, bearer: str) -> bool:
    """Whether who answers ends the connection when a request asks for it, instead of leaving that to the client."""
    head = f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {bearer}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(head.encode())
        try:
            while sock.recv(65536):
                pass
        except TimeoutError:
            return False
    return True


def opened() -> int:
    """How many connections this machine has accepted since it started (`PassiveOpens`)."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("PassiveOpens")])
