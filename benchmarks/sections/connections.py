"""Memory of connections that are kept alive and say nothing."""

import functools
import itertools
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.contenders import SIDECAR, Contender, bare_nginx, start_upstream
from benchmarks.generators import command
from benchmarks.load import PATH
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.report import Findings, Goal, Series, median, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Running

COUNTS = (1_000, 10_000)
ROOM = 1_000  # descriptors beside those of the connections
SETTLE = 2  # seconds
MOST_ROUNDS = 3
MOST_KIB = 6  # of a connection
CONTENDERS = (bare_nginx(connections=COUNTS[-1] + ROOM), SIDECAR)
ABOUT = (
    "Each connection has carried one admitted GET, then stays open and says nothing; fresh processes in each of at most three"
    " rounds. Resident memory of the proxy's processes; what the kernel keeps for a socket is not in it. nginx sets aside the"
    " memory of {slots:,} connections when it starts."
)
HEAD = ("what", "MiB at rest", *(f"MiB with {count:,}" for count in COUNTS), f"KiB per connection at {COUNTS[0]:,}",
        f"KiB per connection at {COUNTS[-1]:,}")  # fmt: skip


@dataclass(frozen=True)
class Held:
    """Resident memory in MiB with none, and with each of `COUNTS`."""

    none: float
    some: float
    many: float

    def __str__(self) -> str:
        return f"{self.none:.0f}, {self.some:.0f}, {self.many:.0f} MiB"


def run(bench: Bench) -> Findings:
    """Contenders in turn, started anew each time. Raises `Invalid` when so many descriptors are not to be had."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most not in (-1, resource.RLIM_INFINITY) and most < COUNTS[-1] + ROOM:
        raise Invalid(f"at most {most:,} file descriptors may be open: raise the hard limit with ulimit -n")
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    turns = itertools.count()
    findings = Findings()
    rows = {each.name: functools.partial(_once, bench, each, upstream, turns) for each in CONTENDERS}
    results = go_round(rows, min(bench.options.rounds, MOST_ROUNDS), findings.faults)
    each = [(held.many - held.none) * 1024 / COUNTS[-1] if held else None for held in results[SIDECAR.name]]
    findings.goals = [Goal(f"memory per idle connection of {COUNTS[-1]:,}", median(each), MOST_KIB, " KiB", digits=1)]
    findings.lines = [ABOUT.format(slots=COUNTS[-1] + ROOM), "", *table(HEAD, map(_row, results, results.values()))]
    return findings


def _row(name: str, found: list[Held | None]) -> list[str]:
    some, many = COUNTS
    figures: list[Series] = [
        column(found, lambda each: each.none),
        column(found, lambda each: each.some),
        column(found, lambda each: each.many),
        column(found, lambda each: (each.some - each.none) * 1024 / some),
        column(found, lambda each: (each.many - each.none) * 1024 / many),
    ]
    return [f"**{name}**" if name == SIDECAR.name else name, *map(spread, figures)]


def _once(bench: Bench, contender: Contender, upstream: int, turns: Iterator[int]) -> Held:
    running = Running(contender, bench.place(str(next(turns)), upstream=upstream))
    try:
        with _client(running) as client:
            some, many = (_hold(client, running, count) for count in COUNTS)
    finally:
        running.started.stop()
    return Held(running.at_rest, some, many)


@contextmanager
def _client(running: Running) -> Iterator["subprocess.Popen[str]"]:
    arguments = command("idle", running.port, PATH, running.token)
    # A session of its own: Ctrl-C reaches the harness alone, and the end of its input ends it.
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as client:
        try:
            yield client
        finally:
            client.kill()


def _hold(client: "subprocess.Popen[str]", running: Running, count: int) -> float:
    assert client.stdin is not None and client.stdout is not None and client.stderr is not None  # noqa: S101, PT018  pipes
    client.stdin.write(f"{count}\n")
    client.stdin.flush()
    answer = client.stdout.readline().strip()
    if answer != str(count):
        words = client.stderr.read().strip().splitlines() if not answer else [f"{answer} of {count} are open"]
        raise Invalid((words or ["the client has ended"])[-1])
    time.sleep(SETTLE)
    return running.started.resident_mib()
