"""CPU per admitted GET, beside the proxies that people would use instead."""

import math
import time

from benchmarks.bench import Bench
from benchmarks.contenders import CONTENDERS, ENVOY, NGINX, NGINX_NJS, NGINX_SERVICE, SIDECAR, start_upstream
from benchmarks.load import load
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.report import Bar, Findings, Goal, Series, median, number, ratio, spread, table
from benchmarks.rounds import Results, column, go_round
from benchmarks.running import Cost, Running

ABOUT = (
    "GET of 42 bytes of JSON from a thousand paths through each proxy on one core, {connections} keep-alive connections."
    " Ours looks up revocations in memory; ours and the Envoy of the row with RBAC enforce a scope per route and set identity"
    " headers. The row with auth_request is nginx and its service together, which asks Redis about each request."
)
HEAD = (
    "what", "µs CPU per request", "ours ÷ this", "requests/s", "µs in Redis besides", "Redis commands per request",
    "MiB at rest", "MiB after",
)  # fmt: skip
WARM_UP = 2  # seconds


def run(bench: Bench) -> Findings:
    """Every contender that is wanted and installed, in turn."""
    options = bench.options
    wanted = [each for each in CONTENDERS if options.wants(each.name)]
    present = [each for each in wanted if not each.missing()]
    notes = [f"- {each.name}: left out, {each.missing()}" for each in wanted if each.missing()]
    if not present:
        raise Invalid("no contender is left: " + "; ".join(notes or ["--only fits none"]))
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    running = {each.name: Running(each, bench.place(str(n), upstream=upstream)) for n, each in enumerate(present)}
    idle = Idle(running.get(SIDECAR.name))

    def one(item: Running, seconds: int = options.seconds) -> Cost:
        return item.cost(lambda: load(item.port, seconds, options.connections, bearer=item.token))

    def measured(item: Running) -> Cost:
        return idle.after(one(item), options.seconds) if item.contender is SIDECAR else one(item)

    for item in running.values():
        one(item, WARM_UP)
    findings = Findings()
    rows = {name: lambda item=item: measured(item) for name, item in running.items()}
    results = go_round(rows, options.rounds, findings.faults)
    after = {name: item.started.resident_mib() for name, item in running.items()}
    findings.goals = goals(results, running, idle)
    findings.bars = bars(results)
    findings.lines = [
        ABOUT.format(connections=options.connections),
        "",
        *rows_of(results, running, after),
        "",
        str(idle),
    ]
    findings.lines += ["", *notes] if notes else []
    return findings


class Idle:
    """What Redis is asked in our rounds, and in as many seconds with nothing to do: that is asked anyway."""

    def __init__(self, ours: Running | None) -> None:
        self._store = ours.started.store if ours else None
        self._requests = self._loaded = self._idle = 0

    def after(self, cost: Cost, seconds: int) -> Cost:
        """Count a round, and wait for as long."""
        assert self._store is not None  # noqa: S101  ours has one
        before = self._store.commands()
        time.sleep(seconds)
        self._idle += self._store.commands() - before
        self._loaded += round(cost.redis_commands * cost.requests)
        self._requests += cost.requests
        return cost

    @property
    def per_request(self) -> float:
        """Commands that a request adds. A heartbeat more or less can make it a little more or less than nothing."""
        return (self._loaded - self._idle) / self._requests if self._requests else math.nan

    def __str__(self) -> str:
        if not self._requests:
            return ""
        return (
            f"Redis commands in our rounds: {self._loaded:,} under load and {self._idle:,} in as many idle seconds, "
            f"for {self._requests:,} admitted requests: {self.per_request:+.6f} per request."
        )


def micros(results: Results[Cost], name: str) -> Series:
    """µs of CPU per request of each round; Redis apart."""
    return column(results.get(name, []), lambda cost: cost.micros)


def goals(results: Results[Cost], running: dict[str, Running], idle: Idle) -> list[Goal]:
    """What is aimed at. Envoy's cache is a setting that has to be asked for: shown, and is not the goal."""
    ours = SIDECAR.name

    def beside(name: str) -> float:
        both = ours in results and name in results
        return ratio(micros(results, ours), micros(results, name)) if both else math.nan

    at_rest = running[ours].at_rest if ours in running else math.nan
    return [
        Goal(f"CPU, ours ÷ {ENVOY.name}", beside(ENVOY.name), 0.45),
        Goal(f"CPU, ours ÷ {NGINX_NJS.name}", beside(NGINX_NJS.name), 1.0),
        Goal(f"CPU, ours ÷ {NGINX.name}", beside(NGINX.name), 2.0),
        Goal(f"CPU, ours ÷ {NGINX_SERVICE.name}", beside(NGINX_SERVICE.name), 0.1),
        Goal("resident memory at rest, of a worker", at_rest, 80, " MiB", digits=1),
        Goal("Redis commands per admitted request, beyond those when idle", idle.per_request, 0, digits=3),
    ]


def _cheapest_first(results: Results[Cost]) -> list[str]:
    names = [name for name in results if not math.isnan(median(micros(results, name)))]
    return sorted(names, key=lambda name: median(micros(results, name)))


def rows_of(results: Results[Cost], running: dict[str, Running], after: dict[str, float]) -> list[str]:
    """The table, the cheapest first; who has no valid round is not in it."""
    rows = []
    for name in _cheapest_first(results):
        item, found = running[name], results[name]
        against = ratio(micros(results, SIDECAR.name), micros(results, name)) if SIDECAR.name in results else math.nan
        redis, asked = "–", "–"
        if item.started.store:
            redis = spread(column(found, lambda cost: cost.redis_micros))
            asked = number(median(column(found, lambda cost: cost.redis_commands)), 4)
        rows.append([
            f"**{name}**" if name == SIDECAR.name else name, spread(micros(results, name)), number(against),
            number(median(column(found, lambda cost: cost.rate)), 0), redis, asked,
            f"{item.at_rest:.0f}", f"{after[name]:.0f}",
        ])  # fmt: skip
    return table(HEAD, rows)


def bars(results: Results[Cost]) -> list[Bar]:
    """The same as a plot."""
    found = []
    for name in _cheapest_first(results):
        valid = [each for each in micros(results, name) if each is not None]
        redis = median(column(results[name], lambda cost: cost.redis_micros))
        found.append(Bar(name, median(valid), min(valid), max(valid), redis, name == SIDECAR.name))
    return found
