"""What a million live revocations cost: memory, the load at a start, and requests; and what a storm of new ones costs."""

import functools
import secrets
import time
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.contenders import start_redis, start_sidecar, start_upstream
from benchmarks.generators import command, generate
from benchmarks.load import load
from benchmarks.machine import OTHER_CORE, Invalid, Process
from benchmarks.place import Place, Started, Store
from benchmarks.report import Findings, Goal, Series, added, median, number, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, cost
from benchmarks.tokens import token

MILLION = 1_000_000
RATE, STORM = 1_000, 2_000  # revocations per second
TTL = 3600  # seconds, over which the ends are spread
TOKENS = 1_000
WARM_UP = 2  # seconds
MOST_STARTS = 3
NONE, MANY, STORMY = "none", "a million", f"a million, and {RATE:,} new ones a second"
ABOUT = (
    "A million revocations of ids with 22 characters, in Redis. A worker loads them when it starts, until it is ready: *stall*"
    " is the longest answer of `/healthz` meanwhile. In the second row, another process revokes {storm:,} a second through the"
    " store's script. Memory is what a worker has resident beyond one without revocations, and `used_memory` of Redis."
)
ABOUT_REQUESTS = (
    "The same GET with {tokens:,} tokens that take turns, {connections} keep-alive connections. A token that was not revoked is"
    " looked up again only after an id with the same part of its hash (of 1,024) was revoked."
)
HEAD_LOADS = ("start", "s until ready", "longest stall, ms", "bytes per revocation and worker", "bytes in Redis")
HEAD_REQUESTS = ("revocations", "µs CPU per request", "added µs", "requests/s")


@dataclass(frozen=True)
class Start:
    """Seconds until ready, ms of the longest stall, and bytes of a worker's memory per revocation."""

    seconds: float
    stall: float
    size: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, stall {self.stall:.1f} ms, {self.size:.1f} bytes"


def run(bench: Bench) -> Findings:
    """Starts, then requests, then the feed alone."""
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    findings = Findings()
    empty = start_sidecar(bench.place("empty", upstream=upstream), start_redis(bench.place("no-revocations")))
    time.sleep(1)
    store = start_redis(bench.place("million"))
    in_redis = _fill(store)
    _starts(bench, upstream, store, empty.resident_mib(), in_redis, findings)
    findings.lines.append("")
    many = start_sidecar(bench.place("many", upstream=upstream), store)
    _requests(bench, {NONE: empty, MANY: many, STORMY: many}, findings)
    findings.lines.append("")
    _feed(bench, many, findings)
    return findings


def _fill(store: Store) -> float:
    """The set as the scripts keep it. Returns the bytes of Redis per entry."""
    before, now = _used(store), int(time.time())
    for start in range(0, MILLION, 10_000):
        entries = {secrets.token_urlsafe(16): now + TTL + n % TTL for n in range(start, start + 10_000)}
        store.client.zadd("{sidecar}:revoked", entries)
    store.client.hset("{sidecar}:state", "card", str(MILLION))
    return (_used(store) - before) / MILLION


def _used(store: Store) -> int:
    return int(store.client.info("memory")["used_memory"])


def _starts(bench: Bench, upstream: int, store: Store, rest: float, in_redis: float, findings: Findings) -> None:
    numbers = iter(range(2 * MOST_STARTS))

    def once(storm: int) -> Start:
        place = bench.place(f"start-{next(numbers)}", upstream=upstream)
        raging = _storm(place, store, storm, 60) if storm else None
        started = start_sidecar(place, store, ready=False)
        try:
            found = generate("loading", started.admin)
            size = (started.resident_mib() - rest) * 2**20 / int(store.client.zcard("{sidecar}:revoked"))
        finally:
            for each in (*started.processes, *([raging] if raging else [])):
                each.stop()
        return Start(found["seconds"], found["stall"], size)

    names = {"nothing is revoked": 0, f"{STORM:,} a second are revoked": STORM}
    rows = {name: functools.partial(once, storm) for name, storm in names.items()}
    results = go_round(rows, min(bench.options.rounds, MOST_STARTS), findings.faults)
    lines, figures = [], {}
    for name, found in results.items():
        seconds, stall = column(found, lambda each: each.seconds), column(found, lambda each: each.stall)
        size = column(found, lambda each: each.size)
        figures[name] = median(seconds), max((each for each in stall if each), default=float("nan")), median(size)
        lines.append([name, spread(seconds, 2), spread(stall), spread(size), number(in_redis, 0)])
    findings.lines += [ABOUT.format(storm=STORM), "", *table(HEAD_LOADS, lines)]
    quiet, stormy = figures.values()
    findings.goals += [
        Goal("memory of a live revocation in a worker", quiet[2], 100, " bytes", digits=0),
        Goal("load of a million revocations", quiet[0], 5, " s", digits=1),
        Goal("longest stall of the event loop meanwhile", quiet[1], 50, " ms", digits=0),
        Goal(f"ready in a storm of {STORM:,} revocations/s, with a million", stormy[0], 10, " s", digits=1),
    ]


def _storm(place: Place, store: Store, rate: int, seconds: int) -> Process:
    return place.start(command("storm", store.port, rate, seconds), OTHER_CORE)


def _requests(bench: Bench, rows: dict[str, Started], findings: Findings) -> None:
    options = bench.options
    path = bench.folder / "tokens"
    path.write_text("".join(f"{token(jti=secrets.token_urlsafe(16))}\n" for _ in range(TOKENS)))

    def once(name: str, started: Started, seconds: int) -> Cost:
        raging = None
        if name == STORMY:
            assert started.store is not None  # noqa: S101  it has the million in it
            raging = _storm(bench.place(f"storm-{time.monotonic_ns()}"), started.store, RATE, 60)
            time.sleep(1)
        try:
            return cost(started, lambda: load(started.port, seconds, options.connections, more=(str(path), "0")))
        finally:
            if raging is not None:
                raging.stop()

    for name, started in rows.items():
        once(name, started, WARM_UP)
    measures = {name: functools.partial(once, name, started, options.seconds) for name, started in rows.items()}
    results = go_round(measures, options.rounds, findings.faults)
    micros: dict[str, Series] = {name: column(found, lambda each: each.micros) for name, found in results.items()}
    lines = []
    for name, found in results.items():
        more = number(added(micros[name], micros[NONE]), 1, "+")
        rate = number(median(column(found, lambda each: each.rate)), 0)
        lines.append([name, spread(micros[name]), more, rate])
    about = ABOUT_REQUESTS.format(tokens=TOKENS, connections=options.connections)
    findings.lines += [about, "", *table(HEAD_REQUESTS, lines)]
    more = added(micros[MANY], micros[NONE])
    findings.goals.append(Goal("CPU per request that a million revocations add", more, 0.5, " µs", digits=1))


def _feed(bench: Bench, started: Started, findings: Findings) -> None:
    assert started.store is not None  # noqa: S101  it has the million in it
    port = started.store.port

    def once(rate: int) -> float:
        before = started.cpu_seconds()
        done = generate("storm", port, rate, bench.options.seconds)
        if done["revoked"] < 0.9 * rate * done["seconds"]:
            raise Invalid(f"only {done['revoked']} revocations in {done['seconds']:.1f} s")
        return (started.cpu_seconds() - before) / done["seconds"] * 100

    rows = {f"{rate:,} a second": functools.partial(once, rate) for rate in (0, RATE, STORM)}
    results = go_round(rows, bench.options.rounds, findings.faults)
    shares = [f"{name}: {spread(found)} %" for name, found in results.items()]
    findings.lines.append(f"CPU of a worker without requests, with so many new revocations: {'; '.join(shares)}.")
