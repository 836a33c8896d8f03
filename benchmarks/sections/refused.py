"""CPU per refused request beside that of an admitted one: whoever sends rubbish must not cost more than a customer."""

import functools

from benchmarks.bench import Bench
from benchmarks.contenders import SIDECAR, start_upstream
from benchmarks.load import INGRESS, ORDERS, fresh, load
from benchmarks.machine import OTHER_CORE
from benchmarks.report import Findings, Goal, Series, median, number, ratio, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, Running
from benchmarks.tokens import token

ABOUT = (
    "GET through ours, {connections} keep-alive connections, with the heads of the workloads `ingress` (each is another) and"
    " `repeat` (the same but for its path). A refused one is answered 401 with a reason, counted and logged, and never reaches"
    " the API. The last 512 tokens that can never be used are remembered, as good ones are; the last row is a storm of a"
    " thousand bad tokens in turn, each of which is verified every time."
)
HEAD = ("heads", "request", "µs CPU per request", "÷ admitted", "requests/s")
WARM_UP = 1  # seconds
HEADS = {"ingress": INGRESS, "repeat": ORDERS}
ADMITTED = "admitted"
STORM = "bad signatures, another in each request"
STORM_TOKENS = 1000


def run(bench: Bench) -> Findings:
    """One sidecar, four kinds of request under each kind of head in turn, and the storm."""
    options = bench.options
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    place = bench.place("sidecar", upstream=upstream)
    ours = Running(SIDECAR, place)
    bearers = {
        ADMITTED: ours.token,
        "no token": None,
        "bad signature": token(key="f" * 32),
        "expired": token(expires_in=-3600),
    }
    storm = place.folder / "storm"
    storm.write_text("".join(f"{token(key='f' * 32, jti=f'{each:022}')}\n" for each in range(STORM_TOKENS)))

    def cost(heads: str, kind: str, seconds: int = options.seconds) -> Cost:
        more = [str(storm), "0"] if kind == STORM else [fresh()] if heads == "ingress" else []
        put = functools.partial(load, ours.port, seconds, options.connections, script=HEADS[heads], more=more)
        return ours.cost(lambda: put(bearer=bearers.get(kind), refused=kind != ADMITTED))

    kinds = [*((heads, kind) for heads in HEADS for kind in bearers), ("repeat", STORM)]
    for heads, kind in kinds:
        cost(heads, kind, WARM_UP)
    findings = Findings()
    rows = {f"{heads}: {kind}": functools.partial(cost, heads, kind) for heads, kind in kinds}
    results = go_round(rows, options.rounds, findings.faults)
    micros: dict[str, Series] = {name: column(found, lambda each: each.micros) for name, found in results.items()}
    lines = []
    for heads, kind in kinds:
        name = f"{heads}: {kind}"
        against = ratio(micros[name], micros[f"{heads}: {ADMITTED}"])
        rate = median(column(results[name], lambda each: each.rate))
        lines.append([heads, kind, spread(micros[name]), number(against), number(rate, 0)])
        if kind not in (ADMITTED, STORM):
            findings.goals.append(Goal(f"{heads}: CPU, {kind} ÷ {ADMITTED}", against, 1.0))
    findings.lines = [ABOUT.format(connections=options.connections), "", *table(HEAD, lines)]
    return findings
