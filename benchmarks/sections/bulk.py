"""A body of 1 GiB, down and up: how fast, at what cost, and whether memory stays flat."""

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.contenders import SIDECAR, bare_nginx, start_upstream
from benchmarks.generators import generate
from benchmarks.machine import OTHER_CORE, free_port
from benchmarks.place import Place
from benchmarks.report import Findings, Goal, median, number, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Running

SIZE = 1024**3
MOST_ROUNDS = 3
DIRECT = "direct"
PATH = "/orders/export"
_STREAMING = "proxy_request_buffering off; proxy_max_temp_file_size 0; client_max_body_size 0;"
_BUFFERS = "proxy_buffer_size 256k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k; client_body_buffer_size 256k;"
CONTENDERS = {
    "nginx": bare_nginx(directives=_STREAMING),
    "nginx-large": bare_nginx(directives=f"{_STREAMING} {_BUFFERS}", note=", buffers of 256 KiB"),
    "sidecar": SIDECAR,
}
ABOUT = (
    "1 GiB over one connection, with its length announced; at most three rounds. Down comes from nginx with `sendfile`, up goes"
    " to a sink that answers after the last byte. Client and API share one core, the proxy has the other. nginx is told not to"
    " keep bodies in files; its default buffers are small, hence the row with larger ones."
)
HEAD = ("way", "through", "MB/s", "CPU seconds of the proxy", "MiB before", "MiB at most", "more (most of all rounds)")


@dataclass(frozen=True)
class Transfer:
    """One body: MB (10⁶ bytes) per second, CPU seconds of the proxy, and its resident memory in MiB."""

    rate: float
    cpu: float
    before: float
    peak: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f} MB/s"


def _downloads(place: Place) -> int:
    with (place.folder / "export").open("wb") as file:
        file.truncate(SIZE)
    return start_upstream(place, f"location = {PATH} {{ sendfile on; alias {place.folder}/export; }}")


def _uploads(place: Place) -> int:
    port = free_port()
    place.start([sys.executable, "-m", "benchmarks.sink", str(port)]).wait_for_port(port)
    return port


WAYS: dict[str, Callable[[Place], int]] = {"down": _downloads, "up": _uploads}


def run(bench: Bench) -> Findings:
    """Each way directly, through nginx and through ours, with processes of their own."""
    rows: dict[str, Callable[[], Transfer]] = {}
    for way, start in WAYS.items():
        upstream = start(bench.place(way, OTHER_CORE))
        rows[f"{way}, {DIRECT}"] = functools.partial(_direct, way, upstream)
        for short, contender in CONTENDERS.items():
            running = Running(contender, bench.place(f"{way}-{short}", upstream=upstream))
            rows[f"{way}, {contender.name}"] = functools.partial(_through, way, running)
    for measure in rows.values():
        measure()
    findings = Findings()
    results = go_round(rows, min(bench.options.rounds, MOST_ROUNDS), findings.faults)
    findings.lines = [ABOUT, "", *table(HEAD, [_row(name, found) for name, found in results.items()])]
    findings.goals = [
        Goal(
            f"memory of ours while 1 GiB goes {way}, beyond before",
            _growth(results[f"{way}, {SIDECAR.name}"]),
            16,
            " MiB",
        )
        for way in WAYS
    ]
    return findings


def _growth(found: list[Transfer | None]) -> float:
    """The most of any round, for what is looked for is a leak or a buffer."""
    return max((each.peak - each.before for each in found if each), default=math.nan)


def _row(name: str, found: list[Transfer | None]) -> list[str]:
    way, _, through = name.partition(", ")
    rate = spread(column(found, lambda each: each.rate), 0)
    if through == DIRECT:
        return [way, through, rate, *["–"] * 4]
    cpu = spread(column(found, lambda each: each.cpu), 2)
    before, peak = column(found, lambda each: each.before), column(found, lambda each: each.peak)
    memory = [number(median(before), 0), number(median(peak), 0), number(_growth(found), 1, "+")]
    return [way, f"**{through}**" if through == SIDECAR.name else through, rate, cpu, *memory]


def _transfer(way: str, port: int, token: str) -> float:
    return SIZE / float(generate("transfer", way, port, PATH, SIZE, token)["seconds"]) / 1e6


def _direct(way: str, port: int) -> Transfer:
    return Transfer(_transfer(way, port, "none"), 0, 0, 0)


def _through(way: str, running: Running) -> Transfer:
    started = running.started
    started.forget_peak()
    cpu, before = started.cpu_seconds(), started.resident_mib()
    rate = _transfer(way, running.port, running.token)
    return Transfer(rate, started.cpu_seconds() - cpu, before, started.peak_mib())
