"""What a token costs when it is seen for the first time, and when there are more tokens than are remembered."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contenders import sidecar, start_upstream
from benchmarks.load import ask, load
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.report import Findings, Series, added, median, number, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, Running
from benchmarks.tokens import CACHE_SIZE, token

MANY, FEW = 100_000, 1_000
LARGE_CACHE = 2 * MANY
ROWS = ((1, CACHE_SIZE), (FEW, CACHE_SIZE), (MANY, CACHE_SIZE), (MANY, LARGE_CACHE))
MOST_WALKS = 60  # through a part of the tokens, to see all of them once
ABOUT = (
    "The same GET with HS256 tokens that take turns, {connections} keep-alive connections, a process for each row. *Added* is"
    " to the row of one token; the second row differs from it by tokens that are known, but not the connection's last one."
    " Where more tokens take turns than are remembered (the oldest goes first), every sight is a first one."
)
HEAD = (
    "tokens in turn", "`cache_size`", "first sights", "µs CPU per request", "added µs", "requests/s", "MiB at rest",
    "MiB after",
)  # fmt: skip


@dataclass
class Walk:
    """A sidecar, and how far its requests have come through a file of tokens; `misses` is the share of first sights."""

    ours: Running
    tokens: Path
    count: int
    position: int = 0
    misses: list[float] = field(default_factory=list)

    def on(self, seconds: int, connections: int) -> Cost:
        """Go on where the last load ended."""
        before = self._lookups()
        more = (str(self.tokens), str(self.position % self.count))
        cost = self.ours.cost(lambda: load(self.ours.port, seconds, connections, more=more))
        hits, misses = (now - then for now, then in zip(self._lookups(), before, strict=True))
        self.misses.append(misses / (hits + misses))
        self.position += cost.requests + connections  # those under way when the load ended are seen, too
        return cost

    def all(self, seconds: int, connections: int) -> Iterator[Cost]:
        """Until each token was seen. Raises `Invalid` when that takes too long."""
        for _ in range(MOST_WALKS):
            yield self.on(seconds, connections)
            if self.position >= self.count:
                self.misses.clear()
                return
        raise Invalid(f"only {self.position:,} of {self.count:,} tokens were seen")

    def _lookups(self) -> tuple[float, float]:
        _, text = ask(self.ours.started.admin, path="/metrics")
        found = dict(line.split(" ") for line in text.splitlines() if line.startswith("sidecar_token_cache_"))
        return float(found["sidecar_token_cache_hits_total"]), float(found["sidecar_token_cache_misses_total"])


def run(bench: Bench) -> Findings:
    """One sidecar per row; the one that remembers all tokens sees each of them once before the rounds."""
    options = bench.options
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    rows = {(count, size): f"{count:,} in turn, {size:,} remembered" for count, size in ROWS}
    walks = {name: _walk(bench, upstream, *row) for row, name in rows.items()}
    learned: list[Cost] = []
    for walk in walks.values():
        learned = list(walk.all(options.seconds, options.connections))
    findings = Findings()
    measures = {name: functools.partial(each.on, options.seconds, options.connections) for name, each in walks.items()}
    results = go_round(measures, options.rounds, findings.faults)
    micros: dict[str, Series] = {name: column(found, lambda each: each.micros) for name, found in results.items()}
    alone, known, unknown, _ = micros.values()
    lines = []
    for (count, size), name in rows.items():
        walk, rate = walks[name], median(column(results[name], lambda each: each.rate))
        lines.append([
            f"{count:,}", f"{size:,}", f"{median(walk.misses):.0%}", spread(micros[name]),
            number(added(micros[name], alone), 1, "+"), number(rate, 0), f"{walk.ours.at_rest:.0f}",
            f"{walk.ours.started.resident_mib():.0f}",
        ])  # fmt: skip
    first = [each.micros for each in learned]
    growing = f"{spread(first)} µs per request, {number(median(first) - median(alone), 1, '+')} µs"
    findings.lines = [ABOUT.format(connections=options.connections), "", *table(HEAD, lines), ""]
    findings.lines += [
        f"A first sight costs {number(added(unknown, known), 1)} µs more than a known token of another request.",
        "",
    ]
    findings.lines.append(f"While the last row's sidecar first saw its {MANY:,} tokens, before the rounds: {growing}.")
    return findings


def _walk(bench: Bench, upstream: int, count: int, size: int) -> Walk:
    place = bench.place(f"{count}-{size}", upstream=upstream)
    ours = Running(sidecar(cache_size=size), place)
    path = place.folder / "tokens"
    path.write_text("".join(f"{token(jti=f'{each:022}')}\n" for each in range(count)))
    return Walk(ours, path, count)
