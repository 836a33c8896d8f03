"""`python -m benchmarks --help`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bench import Bench, Options
from benchmarks.machine import OTHER_CORE, THEIR_CORE, Invalid, Processes, find
from benchmarks.page import PAGE, page, read, write
from benchmarks.report import Findings
from benchmarks.sections import SECTIONS, Section
from benchmarks.versions import machine, versions
from benchmarks.workloads import WORKLOADS


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number, at least 1")
    return int(text)


def _some_of(what: str, every: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def names_of(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(","))
        if unknown := set(names) - set(every):
            raise argparse.ArgumentTypeError(f"no {what}: {', '.join(sorted(unknown))}")
        return names

    return names_of


def options_of(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the program when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What requests cost, beside nginx, njs, HAProxy and Envoy as far as they are installed.",
        epilog="ENVOY=/path/to/envoy names the program where it is not on PATH; so do NGINX, HAPROXY and WRK.",
    )
    here = Path(__file__).parent
    choices = {
        "section": [section.name for section in SECTIONS],
        "workload": [workload.name for workload in WORKLOADS],
    }
    for what, every in choices.items():
        default = ",".join(every)
        parser.add_argument(
            f"--{what}s", type=_some_of(what, every), default=default, metavar="A,B", help=f"of {default}"
        )
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--seconds", type=_positive, default=4, help="of load, per row and round")
    parser.add_argument("--connections", type=_positive, default=64)
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="of a contender's name; repeatable")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=here, metavar="FOLDER", help=f"{PAGE} and plot, all anew"
    )
    given = parser.parse_args(arguments)
    counts = (given.rounds, given.seconds, given.connections)
    return Options(*counts, tuple(given.only), given.sections, given.workloads, given.write)


def measure(section: Section, options: Options) -> Findings:
    """One section. What keeps it from being measured is a fault like one within."""
    print(f"{section.name}:", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes() as processes:
            return section.run(Bench(options, processes, Path(folder)))
    except Invalid as exc:
        print(f"benchmarks: {section.name}: {exc}", file=sys.stderr)
        return Findings(faults=[str(exc)], lines=["Not measured."])


def lacking() -> str | None:
    """What every section needs and is not there."""
    if absent := [program for program in ("nginx", "wrk", "redis-server") if find(program) is None]:
        return f"missing: {', '.join(absent)}; apt-get install nginx libnginx-mod-http-js wrk redis-server"
    if not {THEIR_CORE, OTHER_CORE} <= os.sched_getaffinity(0):
        return f"cores {THEIR_CORE} and {OTHER_CORE} are needed"
    return None


def main() -> int:
    """Measure and print. 0: every goal that was measured is met; 1: one is not; 2: something was not sound."""
    options, where = options_of(), machine()
    if fault := lacking():
        print(f"benchmarks: {fault}", file=sys.stderr)
        return 2
    chosen = [section for section in SECTIONS if section.name in options.sections]
    try:
        found = {section.name: measure(section, options) for section in chosen}
    except KeyboardInterrupt:
        return 130
    lines = page(f"`{options}`: {where}; {versions()}.", found, read(options.write) if options.write else "")
    print("\n".join(lines))
    if options.write:
        write(options.write, lines, found)
        print(f"written to {options.write}", file=sys.stderr)
    missed = any(goal.missed for each in found.values() for goal in each.goals)
    return 2 if any(each.faults for each in found.values()) else int(missed)


if __name__ == "__main__":
    sys.exit(main())
