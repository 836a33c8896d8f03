"""`python -m benchmarks --help`."""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import (
    CONTENDERS,
    ENVOY,
    ENVOY_CACHE,
    NGINX_NJS,
    SIDECAR,
    Contender,
    start_redis,
    start_upstream,
)
from benchmarks.machine import OTHER_CORE, THEIR_CORE, Invalid, Processes, find
from benchmarks.place import Place
from benchmarks.report import Target, ratio, table, targets
from benchmarks.rounds import Measured, Rounds, Running
from benchmarks.versions import machine, versions

RESULTS = Path(__file__).parent / "RESULTS.md"
ABOUT = (
    "GET of 42 bytes of JSON from a thousand paths through each proxy on one core, {connections} keep-alive connections."
    " Ours alone looks up revocations; ours and the Envoy of the row with RBAC enforce a scope per route and set identity"
    " headers."
)


@dataclass(frozen=True)
class Options:
    """The command line. `seconds` of load per contender and round; `only`: parts of names, none for all."""

    rounds: int
    seconds: int
    connections: int
    only: tuple[str, ...]
    write: bool

    @property
    def chosen(self) -> list[Contender]:
        """Whoever has one of the parts in its name, in any case."""
        wanted = [part.lower() for part in self.only]
        return [each for each in CONTENDERS if not wanted or any(part in each.name.lower() for part in wanted)]

    def __str__(self) -> str:
        only = "".join(f" --only '{part}'" for part in self.only)
        shown = f"python -m benchmarks --rounds {self.rounds} --seconds {self.seconds}"
        return f"{shown} --connections {self.connections}{only}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number, at least 1")
    return int(text)


def options_of(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the program when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU per request beside nginx, njs and Envoy, as far as they are installed.",
        epilog="ENVOY=/path/to/envoy names the program where it is not on PATH; so do NGINX and WRK.",
    )
    parser.add_argument("--rounds", type=_positive, default=7)
    parser.add_argument("--seconds", type=_positive, default=5, help="of load, per contender and round")
    parser.add_argument("--connections", type=_positive, default=64)
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="of a contender's name; repeatable")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args(arguments)
    options = Options(given.rounds, given.seconds, given.connections, tuple(given.only), given.write)
    if not options.chosen:
        parser.error("--only fits none of: " + "; ".join(each.name for each in CONTENDERS))
    return options


def goals(measured: Measured) -> list[Target]:
    """What is aimed at. Envoy's cache is a setting that has to be asked for: shown, and not the goal."""
    ours = measured.results.get(SIDECAR.name)

    def beside(contender: Contender) -> float:
        return ratio(ours, measured.results.get(contender.name))

    resident, per_request = ours.at_rest if ours else math.nan, measured.commands.per_request
    return [
        Target(f"CPU, ours ÷ {ENVOY.name}", beside(ENVOY), 0.6),
        Target(f"not a goal: CPU, ours ÷ {ENVOY_CACHE.name}", beside(ENVOY_CACHE), 0.6, counts=False),
        Target(f"CPU, ours ÷ {NGINX_NJS.name}", beside(NGINX_NJS), 1.3),
        Target("resident memory at rest, of a worker", resident, 80, " MiB", digits=1),
        Target("Redis commands per admitted request, beyond those when idle", per_request, 0, digits=3),
    ]


def measure(options: Options, processes: Processes, folder: Path) -> tuple[Measured, list[str]]:
    """Start everything and go round; gives what was measured, and a note for each that was left out."""

    def place(name: str, core: int, upstream: int = 0, redis: int = 0) -> Place:
        (folder / name).mkdir()
        return Place(processes, folder / name, core, upstream, redis)

    if absent := [program for program in ("nginx", "wrk") if find(program) is None]:
        raise Invalid(f"missing: {', '.join(absent)}; apt-get install nginx libnginx-mod-http-js wrk redis-server")
    if not {THEIR_CORE, OTHER_CORE} <= os.sched_getaffinity(0):
        raise Invalid(f"cores {THEIR_CORE} and {OTHER_CORE} are needed")
    present = [each for each in options.chosen if not each.missing()]
    notes = [f"- {each.name}: left out, {each.missing()}" for each in options.chosen if each.missing()]
    if not present:
        raise Invalid("\n".join(notes))
    _, upstream = start_upstream(place("upstream", OTHER_CORE))
    redis = start_redis(place("redis", OTHER_CORE))[1] if SIDECAR in present else 0
    running = [Running(each, place(str(n), THEIR_CORE, upstream, redis)) for n, each in enumerate(present)]
    rounds = Rounds(running, seconds=options.seconds, connections=options.connections, redis_port=redis)
    return rounds.run(options.rounds), notes


def page(options: Options, where: str, measured: Measured, notes: Sequence[str]) -> list[str]:
    """The lines of what is printed, as Markdown. `where`: the machine, as it was before."""
    lines = [f"`{options}`: {where}; {versions()}.", "", ABOUT.format(connections=options.connections), ""]
    lines += [*table(measured.results, SIDECAR.name), "", *targets(goals(measured))]
    lines += ["", str(measured.commands)] if SIDECAR.name in measured.results else []
    notes = [*notes, *(f"- {fault}" for fault in measured.faults)]
    return [*lines, "", *notes] if notes else lines


def main() -> int:
    """Measure and print. 0: every goal that was measured is met; 1: one is not; 2: something was not sound."""
    options, where = options_of(), machine()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes() as processes:
            measured, notes = measure(options, processes, Path(folder))
    except Invalid as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    lines = page(options, where, measured, notes)
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(["# Results", "", *lines, ""]))
        print(f"\nwritten to {RESULTS}")
    missed = any(goal.counts and goal.missed for goal in goals(measured))
    return 2 if measured.faults else int(missed)


if __name__ == "__main__":
    sys.exit(main())
