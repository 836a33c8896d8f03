"""CPU per refused request beside that of an admitted one: whoever sends rubbish must not cost more than a customer."""

import functools

from benchmarks.bench import Bench
from benchmarks.contenders import SIDECAR, start_upstream
from benchmarks.load import load
from benchmarks.machine import OTHER_CORE
from benchmarks.report import Findings, Goal, Series, median, number, ratio, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, Running
from benchmarks.tokens import token

ABOUT = (
    "The same GET through ours, {connections} keep-alive connections. A refused one is answered 401 with a reason, counted and"
    " logged, and never reaches the API. What a head was refused for is remembered as long as the connection repeats it, as it"
    " is for an admitted one; the last row is a storm of a thousand bad tokens in turn, each of which is verified every time."
)
HEAD = ("request", "µs CPU per request", "÷ admitted", "requests/s")
WARM_UP = 1  # seconds
ADMITTED = "admitted"
STORM = "bad signatures, another in each request"
STORM_TOKENS = 1000


def run(bench: Bench) -> Findings:
    """One sidecar, four kinds of request in turn."""
    options = bench.options
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    place = bench.place("sidecar", upstream=upstream)
    ours = Running(SIDECAR, place)
    bearers = {
        ADMITTED: ours.token,
        "no token": None,
        "bad signature": token(key="f" * 32),
        "expired": token(expires_in=-3600),
        STORM: None,
    }
    storm = place.folder / "storm"
    storm.write_text("".join(f"{token(key='f' * 32, jti=f'{each:022}')}\n" for each in range(STORM_TOKENS)))

    def cost(name: str, seconds: int = options.seconds) -> Cost:
        more = (str(storm), "0") if name == STORM else ()
        return ours.cost(
            lambda: load(
                ours.port, seconds, options.connections, bearer=bearers[name], more=more, refused=name != ADMITTED
            )
        )

    for name in bearers:
        cost(name, WARM_UP)
    findings = Findings()
    results = go_round({name: functools.partial(cost, name) for name in bearers}, options.rounds, findings.faults)
    micros: dict[str, Series] = {name: column(found, lambda each: each.micros) for name, found in results.items()}
    against = {name: ratio(series, micros[ADMITTED]) for name, series in micros.items()}
    rates = {name: median(column(found, lambda each: each.rate)) for name, found in results.items()}
    findings.goals = [
        Goal(f"CPU, {name} ÷ {ADMITTED}", figure, 1.0)
        for name, figure in against.items()
        if name not in (ADMITTED, STORM)
    ]
    rows = [[name, spread(micros[name]), number(against[name]), number(rates[name], 0)] for name in bearers]
    findings.lines = [ABOUT.format(connections=options.connections), "", *table(HEAD, rows)]
    return findings
