"""What an operator does to a running sidecar: several workers, starts, another configuration, new workers, a drain."""

import functools
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import Bench
from benchmarks.contenders import CLIENT, SECRET, start_redis, start_sidecar, start_upstream
from benchmarks.generators import command, generate
from benchmarks.load import PATH, load
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.place import Place, Started
from benchmarks.report import Findings, Goal, number, ratio, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, cost
from benchmarks.tokens import token

REVOCATIONS = 300
WORKERS = 4
MANY = 1_000  # clients and routes
RELOADS, ROLLS, DRAINS = 10, 5, 50
RATE, FEW = 2_000, 500  # new connections per second
PUBLIC = "/health"
ABOUT = (
    "All on one core. *Workers*: the same load on one and on two of them. *Revocation*: {revocations} tokens are revoked by one"
    " of {workers} workers, and all are asked until each refuses; one turn of asking takes {turn:.1f} ms. *Start*: from the"
    " start of the process until `/readyz` answers 200. *Reload*: one of {many:,} clients and {many:,} routes changes; the"
    " longest request is that of a connection that asks without a pause meanwhile. *Roll*: both workers are replaced while"
    " {rate:,} new connections a second arrive. *Drain*: the soft drain, a successor, SIGTERM, again and again, while {few:,}"
    " new connections a second arrive."
)


def run(bench: Bench) -> Findings:
    """Each in turn."""
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    findings, rows = Findings(), list[list[str]]()
    _workers(bench, upstream, findings, rows)
    turn = _revocation(bench, upstream, findings, rows)
    _start(bench, upstream, findings, rows)
    _reload(bench, upstream, findings, rows)
    _roll(bench, upstream, findings, rows)
    about = ABOUT.format(revocations=REVOCATIONS, workers=WORKERS, turn=turn, many=MANY, rate=RATE, few=FEW)
    findings.lines += [about, "", *table(("what", "figure"), rows)]
    return findings


def _workers(bench: Bench, upstream: int, findings: Findings, rows: list[list[str]]) -> None:
    started = {
        count: start_sidecar(
            bench.place(f"workers-{count}", upstream=upstream),
            start_redis(bench.place(f"redis-{count}")),
            workers=count,
        )
        for count in (1, 2)
    }
    options, bearer = bench.options, token()

    def once(each: Started) -> Cost:
        return cost(each, lambda: load(each.port, options.seconds, options.connections, bearer=bearer))

    for each in started.values():
        once(each)
    results = go_round(
        {str(count): functools.partial(once, each) for count, each in started.items()}, options.rounds, findings.faults
    )
    micros = {count: column(found, lambda each: each.micros) for count, found in results.items()}
    rows += [
        [f"CPU per request, {count} worker{'s' * (count != '1')}", f"{spread(micros[count])} us"] for count in micros
    ]
    findings.goals.append(Goal("CPU per request of 2 workers ÷ 1", ratio(micros["2"], micros["1"]), 1.1, " ×"))


def _revocation(bench: Bench, upstream: int, findings: Findings, rows: list[list[str]]) -> float:
    place = bench.place("spread", upstream=upstream)
    started = start_sidecar(place, start_redis(bench.place("redis-spread")), workers=WORKERS)
    pids = _workers_of(started)
    found = generate("spread", started.port, PATH, REVOCATIONS, CLIENT, SECRET, *pids)
    latencies = found["latencies"]
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    rows.append([f"revocation known to all of {WORKERS} workers: p50, p99", f"{p50:.1f}, {p99:.1f} ms"])
    findings.goals.append(Goal(f"revocation known to all of {WORKERS} workers, p99", p99, 20, " ms", digits=1))
    started.stop()
    return float(found["turn"])


def _workers_of(started: Started) -> list[int]:
    return [pid for pid in started.processes[0].pids() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _start(bench: Bench, upstream: int, findings: Findings, rows: list[list[str]]) -> None:
    numbers = iter(range(100))
    store = start_redis(bench.place("redis-start"))

    def once() -> float:
        place, began = bench.place(f"start-{next(numbers)}", upstream=upstream), time.perf_counter()
        started = start_sidecar(place, store, ready=False)
        while _ready(started.admin) != 200:
            if time.perf_counter() - began > 30:
                raise Invalid("ours does not become ready")
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        started.processes[0].stop()
        return seconds

    once()  # the first start of a version compiles its modules
    (found,) = go_round({"start": once}, bench.options.rounds, findings.faults).values()
    seconds = column(found, float)
    rows.append(["start to ready", f"{spread(seconds, 2)} s"])
    findings.goals.append(Goal("start to ready", max(each for each in seconds if each), 1.5, " s"))


def _ready(admin: int) -> int:
    try:
        return _post(admin, "/readyz", "GET")[0]
    except OSError:
        return 0


def _post(admin: int, path: str, method: str = "POST") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=60)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _reload(bench: Bench, upstream: int, findings: Findings, rows: list[list[str]]) -> None:
    place = bench.place("reload", upstream=upstream)
    started = start_sidecar(place, start_redis(bench.place("redis-reload")), sections=_many())
    path = place.folder / "sidecar.yaml"
    document = yaml.safe_load(path.read_text())
    took = []
    with _running("steady", started.port, PATH, token()) as stop:
        for number_of in range(RELOADS):
            document["clients"][-1]["scope"] = f"scope:{number_of}"
            path.write_text(yaml.safe_dump(document))
            began = time.perf_counter()
            status, answer = _post(started.admin, "/reload")
            took.append((time.perf_counter() - began) * 1000)
            if status != 200 or answer["status"] == "rejected":
                raise Invalid(f"a reload: {status} {answer}")
            time.sleep(0.5)
        found = stop()
    rows.append(["reload: median, longest", f"{sorted(took)[len(took) // 2]:.0f}, {max(took):.0f} ms"])
    rows.append(["longest request meanwhile", f"{found['longest']:.1f} ms of {found['requests']:,}"])
    findings.goals += [
        Goal(f"reload of {MANY:,} clients and {MANY:,} routes", sorted(took)[len(took) // 2], 200, " ms", digits=0),
        Goal("longest request during reloads", found["longest"], 50, " ms", digits=0),
    ]
    started.stop()


def _many() -> dict[str, Any]:
    client = {"client_secret": "s" * 40, "grant_types": ["client_credentials"]}
    clients = [{**client, "client_id": f"client-{number_of}", "scope": f"s{number_of}"} for number_of in range(MANY)]
    routes = [{"path": f"/more/{number_of}/**", "scope": f"s{number_of}"} for number_of in range(MANY)]
    return {"clients": clients, "routes": routes}


@contextmanager
def _running(name: str, *arguments: object) -> Iterator[Any]:
    """A generator that runs until the function that is given is called; that gives its answer."""
    process = subprocess.Popen(command(name, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop() -> dict[str, Any]:
        found, _ = process.communicate(timeout=60)
        answer: dict[str, Any] = json.loads(found)
        return answer

    try:
        time.sleep(0.5)
        yield stop
    finally:
        process.kill()
        process.wait()


def _roll(bench: Bench, upstream: int, findings: Findings, rows: list[list[str]]) -> None:
    place, store = bench.place("roll", upstream=upstream), start_redis(bench.place("redis-roll"))
    started = start_sidecar(place, store, workers=2, sections={"drain": {"delay": "0s"}})
    with _running("newcomers", started.port, RATE, PUBLIC) as stop:
        for _ in range(ROLLS):
            status, answer = _post(started.admin, "/roll")
            if status != 200:
                raise Invalid(f"a roll: {status} {answer}")
        _say(f"{2 * ROLLS} workers replaced", stop(), findings, rows)
    with _running("newcomers", started.port, FEW, PUBLIC) as stop:
        for _ in range(DRAINS):
            started = _succeed(place, started)
        _say(f"{DRAINS} drains with a successor", stop(), findings, rows)


def _succeed(place: Place, old: Started) -> Started:
    """The soft drain, a successor at the same addresses, SIGTERM for the old one."""
    _post(old.admin, "/drain")
    new = place.start(old.processes[0].command)
    deadline = time.monotonic() + 30
    while _ready(old.admin) != 200:
        if time.monotonic() > deadline:
            raise Invalid("a successor does not become ready")
        time.sleep(0.01)
    old.processes[0].stop()
    return Started(old.port, (new,), old.store, old.admin)


def _say(what: str, found: dict[str, Any], findings: Findings, rows: list[list[str]]) -> None:
    lost = found["begun"] - found["served"]
    text = f"{lost} of {found['begun']:,} at {number(found['rate'], 0)} a second"
    rows.append([f"new connections that were not served: {what}", text + (f" {found['lost']}" if lost else "")])
    findings.goals.append(Goal(f"not served: {what}", lost / found["begun"] * 100, 0.01, " %", digits=3))
