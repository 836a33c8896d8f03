"""`python -m benchmarks --help`."""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import redis

from benchmarks.contenders import CONTENDERS, SECRET, SIDECAR, Contender, Place, token, upstream
from benchmarks.machine import Process, find, free_port, load
from benchmarks.report import Result, Target, machine, ratios, table, targets

THEIR_CORE, OTHER_CORE = 0, 1
PATH = "/orders/1"
RESULTS = Path(__file__).parent / "RESULTS.md"
HEARTBEAT = {"evalsha", "xrange", "xrevrange", "time", "xadd", "xread"}


class Running:
    """A contender under test."""

    def __init__(self, contender: Contender, place: Place) -> None:
        self.contender = contender
        self.process, self.port = contender.start(place)
        self.url = f"http://127.0.0.1:{self.port}{PATH}"
        self.token = self._issued() if contender is SIDECAR else token()
        self.result = Result(at_rest=self.process.resident_mib())

    def _issued(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": "bench", "client_secret": SECRET}
        url = f"http://127.0.0.1:{self.port}/oauth/token"
        with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
            issued: str = json.load(answer)["access_token"]
        return issued

    def check(self) -> None:
        """It admits with a token and refuses without. Raises `RuntimeError` otherwise."""
        deadline = time.monotonic() + 10
        while (status := _status(self.url, self.token)) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        refused = _status(self.url, None)
        if status != 200 or refused != (401 if self.contender.guards else 200):
            raise RuntimeError(f"{self.contender.name}: {status} with a token, {refused} without")

    def round(self, seconds: float, connections: int) -> int:
        """Measure once; gives the number of requests."""
        before = self.process.cpu_seconds()
        requests, rate = load(self.url, self.token, seconds, connections, OTHER_CORE)
        self.result.micros.append((self.process.cpu_seconds() - before) / requests * 1e6)
        self.result.rates.append(rate)
        return requests


def _status(url: str, bearer: str | None) -> int:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:  # noqa: S310  our own
            status: int = answer.status
            return status
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def _calls(client: "redis.Redis") -> dict[str, int]:
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()}  # type: ignore[union-attr]


def main() -> int:
    """Run the rounds and print the table; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load, per contender and round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        lines = _run(options, Path(folder), stack)
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(["# Results", "", *lines, ""]))
        print(f"\nwritten to {RESULTS}")
    return 1 if any("NOT met" in line for line in lines) else 0


def _run(options: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> list[str]:
    def start_folder(name: str) -> Path:
        path = folder / name
        path.mkdir()
        return path

    for program in ("nginx", "wrk", "redis-server"):
        if find(program) is None:
            sys.exit(f"{program} is needed: apt-get install nginx libnginx-mod-http-js wrk redis-server")
    api, api_port = upstream(start_folder("upstream"), OTHER_CORE)
    stack.callback(api.stop)
    redis_port = free_port()
    command = ["redis-server", "--port", str(redis_port), "--save", "", "--dir", str(folder)]
    store = Process(command, OTHER_CORE, folder / "redis.log")
    stack.callback(store.stop)
    store.wait_for_port(redis_port)

    watcher = stack.enter_context(contextlib.closing(redis.Redis(port=redis_port)))
    watcher.ping()

    running: list[Running] = []
    notes: list[str] = []
    for number, contender in enumerate(CONTENDERS):
        if missing := contender.missing():
            notes.append(f"- {contender.name}: left out, {missing}")
            continue
        item = Running(contender, Place(start_folder(str(number)), THEIR_CORE, api_port, redis_port))
        stack.callback(item.process.stop)
        item.check()
        running.append(item)
        load(item.url, item.token, 1, options.connections, OTHER_CORE)  # warm

    spent, requests = 0, 0
    for number in range(options.rounds):
        for item in running[number % len(running) :] + running[: number % len(running)]:
            before = _calls(watcher)
            done = item.round(options.seconds, options.connections)
            if item.contender is SIDECAR:
                after = _calls(watcher)
                requests += done
                spent += sum(after[name] - before.get(name, 0) for name in after if name not in {*HEARTBEAT, "info"})
            print(f"round {number + 1}: {item.contender.name}: {item.result.micros[-1]:.1f} µs", file=sys.stderr)
    for item in running:
        item.result.after = item.process.resident_mib()
    results = {item.contender.name: item.result for item in running}
    return _lines(options, results, notes, spent / requests)


def _lines(options: argparse.Namespace, results: dict[str, Result], notes: list[str], commands: float) -> list[str]:
    ours = results[SIDECAR.name]

    def ratio(name: str) -> float:
        return statistics.median(ratios(ours, results[name])) if name in results else float("nan")

    goals = [
        Target("CPU, ours ÷ Envoy jwt_authn HS256", ratio("Envoy jwt_authn HS256"), 0.6),
        Target("CPU, ours ÷ nginx + njs HS256", ratio("nginx + njs HS256"), 1.3),
        Target("resident memory at rest, of a worker", ours.at_rest, 80, " MiB"),
        Target("Redis commands per admitted request, heartbeat aside", commands, 0),
    ]
    command = f"python -m benchmarks --rounds {options.rounds} --seconds {options.seconds:g}"
    return [
        f"`{command}`: {machine()}.",
        "",
        (
            f"GET of 42 bytes of JSON from a thousand paths through each proxy on one core, {options.connections} keep-alive"
            " connections. Ours alone looks up revocations; ours and the Envoy of the row with RBAC enforce a scope per route"
            " and set identity headers."
        ),
        "",
        *table(results, SIDECAR.name),
        "",
        *targets([goal for goal in goals if goal.value == goal.value]),  # NaN: not there to compare with
        *(["", *notes] if notes else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
