"""CPU per admitted request in each workload, beside the proxies that people would use instead."""

import math

from benchmarks.bench import Bench
from benchmarks.contenders import SIDECAR, start_upstream
from benchmarks.machine import OTHER_CORE, Invalid
from benchmarks.measuring import Idle, Measured, measure
from benchmarks.report import Bar, Findings, Goal, Length, median, number, spread, table
from benchmarks.rounds import column
from benchmarks.workloads import WORKLOADS

ABOUT = (
    "All proxies share one core in turn, {connections} connections, before an API that answers with 42 bytes of JSON. Ours"
    " looks up revocations in memory; ours and the Envoy of the row with RBAC enforce a scope per route and set identity"
    " headers. Ours believes and extends the load's `X-Forwarded-*`, as behind an ingress; the others pass them on. HAProxy"
    " checks signature, algorithm, issuer, audience and expiry. Envoy's cache has room for as many tokens as ours."
)
ABOUT_RATIOS = "CPU time of ours ÷ that of another: the median of the ratios within a round. `ingress` is the headline."
HEAD = (
    "what", "µs CPU per request", "ours ÷ this", "requests/s", "µs in Redis besides", "Redis commands per request",
    "MiB at rest", "MiB after",
)  # fmt: skip
PLOTTED = ("ingress", "repeat")


def run(bench: Bench) -> Findings:
    """The chosen workloads one after the other, each with contenders that are started for it."""
    findings, idle = Findings(), Idle()
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    chosen = [each for each in WORKLOADS if each.name in bench.options.workloads]
    found: list[Measured] = []
    for workload in chosen:
        try:
            counted = idle if workload is chosen[0] else None
            found.append(measure(bench, workload, upstream, counted, findings.faults))
        except Invalid as exc:
            findings.faults.append(f"{workload.name}: {exc}")
    if not found:
        raise Invalid("; ".join(findings.faults))
    findings.goals, findings.bars = goals(found, idle), bars(found)
    findings.lines = [ABOUT.format(connections=bench.options.connections), "", ABOUT_RATIOS, "", *ratios(found)]
    for each in found:
        findings.lines += ["", f"### {each.workload.name}", "", each.workload.about, "", *rows_of(each)]
    findings.lines += ["", str(idle)] if str(idle) else []
    contenders = {each.name: each for item in found for each in item.workload.contenders}.values()
    wanted = [each for each in contenders if bench.options.wants(each.name)]
    notes = [f"- {each.name}: left out, {each.missing()}" for each in wanted if each.missing()]
    findings.lines += ["", *notes] if notes else []
    return findings


def goals(found: list[Measured], idle: Idle) -> list[Goal]:
    """What is aimed at."""
    aimed = [
        Goal(f"{each.workload.name}: CPU, ours ÷ {name}", each.beside(name), target)
        for each in found
        for name, target in each.workload.targets.items()
    ]
    memory = found[0].memory.get(SIDECAR.name)
    at_rest = memory.at_rest if memory else math.nan
    return [
        *aimed,
        Goal("resident memory at rest, of a worker", at_rest, 75, " MiB", digits=1),
        Goal("Redis commands per admitted request, beyond those when idle", idle.per_request, 0, digits=3),
    ]


def ratios(found: list[Measured]) -> list[str]:
    """The table of all: a row per workload, a column per contender."""
    others = [name for name in dict.fromkeys(name for each in found for name in each.results) if name != SIDECAR.name]
    rows = [
        [
            f"**{each.workload.name}**" if each.workload.name == PLOTTED[0] else each.workload.name,
            number(median(each.micros(SIDECAR.name)), 1),
            *(number(each.beside(name)) for name in others),
        ]
        for each in found
    ]
    return table(["workload", "µs of ours", *(f"÷ {name}" for name in others)], rows)


def rows_of(measured: Measured) -> list[str]:
    """The table of one workload, the cheapest first; who has no valid round is not in it."""
    rows = []
    for name in measured.cheapest_first():
        found, memory = measured.results[name], measured.memory[name]
        redis, asked = "–", "–"
        if memory.store:
            redis = spread(column(found, lambda cost: cost.redis_micros))
            asked = number(median(column(found, lambda cost: cost.redis_commands)), 4)
        rows.append([
            f"**{name}**" if name == SIDECAR.name else name, spread(measured.micros(name)), number(measured.beside(name)),
            number(median(column(found, lambda cost: cost.rate)), 0), redis, asked,
            f"{memory.at_rest:.0f}", f"{memory.after:.0f}",
        ])  # fmt: skip
    return table(HEAD, rows)


def bars(found: list[Measured]) -> list[Bar]:
    """The plot: a bar per contender and per workload of `PLOTTED`, in the order of the first of these that was measured."""
    shown = [each for name in PLOTTED for each in found if each.workload.name == name]
    names = dict.fromkeys(name for each in shown for name in each.cheapest_first())
    return [
        Bar(name, tuple(_length(each, name) for each in shown if _is_valid(each, name)), name == SIDECAR.name)
        for name in names
    ]


def _is_valid(measured: Measured, name: str) -> bool:
    return name in measured.cheapest_first()


def _length(measured: Measured, name: str) -> Length:
    valid = [each for each in measured.micros(name) if each is not None]
    redis = median(column(measured.results[name], lambda cost: cost.redis_micros))
    return Length(measured.workload.name, median(valid), min(valid), max(valid), redis)
