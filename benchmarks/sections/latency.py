"""The time that a proxy adds, at a fixed rate well below what it can take."""

import functools
import math
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.contenders import NGINX, SIDECAR, start_upstream
from benchmarks.generators import generate
from benchmarks.load import PATH
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.report import Findings, Goal, added, number, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Running

RATE = 2_000  # requests per second
MOST_LATE = 5.0  # ms, of the 99th percentile: beyond it the generator did not keep its schedule
MOST_ADDED = 1.2  # times what nginx adds
DIRECT = "direct"
ABOUT = (
    "GET of 42 bytes at {rate:,} requests/s with independent arrivals over {connections} keep-alive connections, open loop:"
    " the time counts from when a request was due. *Sent late* says how well the generator kept its schedule, and is part of"
    " every latency: where it differs from row to row, something else disturbed the machine, and the p99 tells of that."
)
HEAD = ("through", "p50 ms", "p99 ms", "added to p50", "added to p99", "p99 of sent late, ms")


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms; `late` is that of how late requests were sent."""

    p50: float
    p99: float
    late: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms"


def run(bench: Bench) -> Findings:
    """Directly, through nginx, through ours, in turn."""
    options = bench.options
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    ways = {DIRECT: (upstream, "none")}
    for folder, contender in (("nginx", NGINX), ("sidecar", SIDECAR)):
        running = Running(contender, bench.place(folder, upstream=upstream))
        ways[contender.name] = (running.port, running.token)
    rows = {
        name: functools.partial(_once, port, token, options.seconds, options.connections)
        for name, (port, token) in ways.items()
    }
    go_round(rows, 1, [])  # to warm up: a fault there is none of the results
    findings = Findings()
    results = go_round(rows, options.rounds, findings.faults)
    p50, p99 = ({name: column(found, of) for name, found in results.items()} for of in (_p50, _p99))
    lines = []
    for name, found in results.items():
        more = [number(added(series[name], series[DIRECT]), 2, "+") for series in (p50, p99)]
        late = spread(column(found, lambda each: each.late), 2)
        shown = f"**{name}**" if name == SIDECAR.name else name
        lines.append([shown, spread(p50[name], 2), spread(p99[name], 2), *more, late])
    findings.lines = [ABOUT.format(rate=RATE, connections=options.connections), "", *table(HEAD, lines)]
    ours, theirs = (added(p50[name], p50[DIRECT]) for name in (SIDECAR.name, NGINX.name))
    findings.goals = [Goal(f"added to p50, ours ÷ {NGINX.name}", ours / theirs if theirs > 0 else math.nan, MOST_ADDED)]
    return findings


def _p50(latency: Latency) -> float:
    return latency.p50


def _p99(latency: Latency) -> float:
    return latency.p99


def _once(port: int, token: str, seconds: int, connections: int) -> Latency:
    found = generate("open_loop", port, PATH, token, RATE, seconds, connections)
    late = _percentile(found["lateness"], 99)
    if late > MOST_LATE:
        raise Invalid(f"one request in a hundred was sent {late:.1f} ms late or more: the load was not what it says")
    return Latency(_percentile(found["latencies"], 50), _percentile(found["latencies"], 99), late)


def _percentile(ascending: list[float], percent: int) -> float:
    return ascending[len(ascending) * percent // 100]
