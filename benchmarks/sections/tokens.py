"""What the token endpoint costs, what a refresh asks of Redis, and how soon a revocation is known everywhere."""

import base64
import functools
import math
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.bench import Bench
from benchmarks.contenders import CLIENT, HS256, REFRESHING, SECRET, sidecar, start_redis, start_sidecar, start_upstream
from benchmarks.generators import generate
from benchmarks.load import PATH, TOKENS, ask, load
from benchmarks.machine import OTHER_CORE, Invalid, free_port
from benchmarks.place import Place, Started
from benchmarks.report import Findings, Goal, Series, median, number, ratio, spread, table
from benchmarks.rounds import column, go_round
from benchmarks.running import Cost, Running, cost

BARE, WITH_PYJWT = "aiohttp, a handler that returns the same JSON", "aiohttp, PyJWT: checks the secret, signs HS256"
POST, BASIC, ES256 = "sidecar, HS256", "sidecar, HS256, HTTP Basic", "sidecar, ES256"
FAMILIES = 64
REVOCATIONS = 200
MOST_ROUNDS = 3  # of revocations
WARM_UP = 2  # seconds
ABOUT_TOKENS = (
    "POST of the same form for `client_credentials` over {connections} keep-alive connections, each contender one process on a"
    " core. Ours authenticates the client, signs, counts and logs each token, and asks Redis for nothing. The bare handler"
    " does not even look at the form."
)
ABOUT_ROTATIONS = (
    "Refresh tokens of {families} families at a time, each use with the token that the last one gave. A round trip is a message"
    " that Redis reads from a client (`total_reads_processed`), less what it reads in as many idle seconds."
)
ABOUT_REVOCATIONS = (
    "Two processes that share a Redis: one revokes, then the other is asked as fast as it answers. The time is that from the"
    " whole 200 of `/oauth/revoke` to the whole 401, so that the {question} ms of one question are in it."
)
HEAD_TOKENS = ("token endpoint", "tokens per CPU second", "µs CPU per token", "÷ bare handler", "tokens/s")
HEAD_ROTATIONS = ("rotations/s", "rotations per CPU second", "µs CPU per rotation", "µs in Redis besides",
                  "round trips per rotation", "scripts (EVALSHA) per rotation")  # fmt: skip
HEAD_REVOCATIONS = ("revocations", "p50 ms", "p99 ms", "at most")


def run(bench: Bench) -> Findings:
    """The three parts, one after the other."""
    upstream = start_upstream(bench.place("upstream", OTHER_CORE))
    findings = Findings()
    for part in (_tokens, _rotations, _revocations):
        part(bench, upstream, findings)
        findings.lines.append("")
    findings.lines.pop()
    return findings


# Tokens by client credentials.


@dataclass(frozen=True)
class Endpoint:
    """A token endpoint that runs, and what it is asked; `ours`: it counts what it issues."""

    started: Started
    arguments: tuple[str, ...]
    ours: bool

    def cost(self, seconds: int, connections: int) -> Cost:
        """Of a load. Raises `Invalid` when ours did not issue as many tokens as were answered."""
        before = self._issued()
        found = cost(
            self.started,
            lambda: load(self.started.port, seconds, connections, script=TOKENS, more=self.arguments),
        )
        issued = self._issued() - before
        if self.ours and not found.requests <= issued <= found.requests + connections:
            raise Invalid(f"{found.requests} answers, and {issued:.0f} tokens issued")
        return found

    def _issued(self) -> float:
        if not self.ours:
            return 0
        _, text = ask(self.started.admin, path="/metrics")
        name = 'sidecar_tokens_issued_total{grant_type="client_credentials"} '
        return next(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


def _tokens(bench: Bench, upstream: int, findings: Findings) -> None:
    options = bench.options
    endpoints = _endpoints(bench, upstream)
    for each in endpoints.values():
        each.cost(WARM_UP, options.connections)
    rows = {
        name: functools.partial(each.cost, options.seconds, options.connections) for name, each in endpoints.items()
    }
    results = go_round(rows, options.rounds, findings.faults)
    micros: dict[str, Series] = {name: column(found, lambda each: each.micros) for name, found in results.items()}
    lines = []
    for name, found in results.items():
        against = number(ratio(micros[name], micros[BARE]))
        rate = number(median(column(found, lambda each: each.rate)), 0)
        per_second = number(1e6 / median(micros[name]), 0)
        shown = f"**{name}**" if endpoints[name].ours else name
        lines.append([shown, per_second, spread(micros[name]), against, rate])
    findings.lines += [ABOUT_TOKENS.format(connections=options.connections), "", *table(HEAD_TOKENS, lines)]
    findings.goals.append(Goal("CPU per token of HS256 ÷ bare aiohttp handler", ratio(micros[POST], micros[BARE]), 3.0))


def _endpoints(bench: Bench, upstream: int) -> dict[str, Endpoint]:
    hs256 = Running(sidecar(), bench.place("tokens-hs256", upstream=upstream)).started
    key = {"kid": "es256", "alg": "ES256", "private_key": _es256_pem()}
    es256 = Running(sidecar(signing_keys=[key, HS256]), bench.place("tokens-es256", upstream=upstream)).started
    grant = {"grant_type": "client_credentials"}
    by_post = urllib.parse.urlencode({**grant, "client_id": CLIENT, "client_secret": SECRET})
    basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    answer = bench.folder / "answer.json"
    answer.write_text(_answer(hs256, by_post))
    return {
        BARE: Endpoint(_start_handler(bench.place("bare"), "bare", answer), (by_post,), ours=False),
        WITH_PYJWT: Endpoint(_start_handler(bench.place("pyjwt"), "pyjwt", answer), (by_post,), ours=False),
        POST: Endpoint(hs256, (by_post,), ours=True),
        BASIC: Endpoint(hs256, (urllib.parse.urlencode(grant), f"Basic {basic}"), ours=True),
        ES256: Endpoint(es256, (by_post,), ours=True),
    }


def _answer(started: Started, form: str) -> str:
    status, text = ask(started.port, path="/oauth/token", form=form.encode())
    if status != 200:
        raise Invalid(f"/oauth/token answers {status} {text}")
    return text


def _start_handler(place: Place, kind: str, answer: Path) -> Started:
    port = free_port()
    process = place.start([sys.executable, "-m", "benchmarks.token_handlers", kind, str(port), str(answer)])
    process.wait_for_port(port)
    return Started(port, (process,))


def _es256_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


# Refresh tokens.


@dataclass(frozen=True)
class Rotations:
    """So many in a load, their rate per second; µs of CPU, of ours and of Redis, messages to Redis and scripts, each per
    rotation and, but for CPU, beyond those of as many idle seconds."""

    rate: float
    micros: float
    redis_micros: float
    messages: float
    scripts: float

    def __str__(self) -> str:
        return f"{self.micros:.1f} µs, {self.messages:.4f} round trips"


def _rotations(bench: Bench, upstream: int, findings: Findings) -> None:
    place = bench.place("rotations", upstream=upstream)
    started = Running(sidecar(), place).started
    once = functools.partial(_rotate, started, place.folder / "families")
    once(WARM_UP)
    found = go_round(
        {"rotations": functools.partial(once, bench.options.seconds)}, bench.options.rounds, findings.faults
    )["rotations"]
    micros, messages = column(found, lambda each: each.micros), column(found, lambda each: each.messages)
    row = [
        number(median(column(found, lambda each: each.rate)), 0),
        number(1e6 / median(micros), 0),
        spread(micros),
        spread(column(found, lambda each: each.redis_micros)),
        number(median(messages), 4),
        number(median(column(found, lambda each: each.scripts)), 4),
    ]
    findings.lines += [ABOUT_ROTATIONS.format(families=FAMILIES), "", *table(HEAD_ROTATIONS, [row])]
    findings.goals.append(Goal("Redis round trips per rotation", median(messages), 1, digits=3))


def _rotate(started: Started, families: Path, seconds: int) -> Rotations:
    store = started.store
    assert store is not None  # noqa: S101  ours has one

    def used() -> tuple[float, float, int, int]:
        return started.cpu_seconds(), store.process.cpu_seconds(), *store.asked()

    before = used()
    done = generate("rotations", started.port, families, FAMILIES, seconds, REFRESHING, SECRET)
    after = used()
    time.sleep(done["seconds"])
    idle = store.asked()
    count = done["rotations"]
    cpu, redis, messages, scripts = (now - then for now, then in zip(after, before, strict=True))
    idle_messages, idle_scripts = (now - then for now, then in zip(idle, after[2:], strict=True))
    return Rotations(
        count / done["seconds"],
        cpu * 1e6 / count,
        redis * 1e6 / count,
        (messages - idle_messages) / count,
        (scripts - idle_scripts) / count,
    )


# Revocations.


@dataclass(frozen=True)
class Latencies:
    """In ms and ascending order; `question` is how long one question takes, which is in each of them."""

    found: list[float]
    question: float

    def __str__(self) -> str:
        return f"p50 {self.percentile(50):.2f} ms, p99 {self.percentile(99):.2f} ms"

    def percentile(self, percent: int) -> float:
        """The smallest that so many percent do not exceed; NaN of none."""
        return self.found[math.ceil(len(self.found) * percent / 100) - 1] if self.found else math.nan


def _revocations(bench: Bench, upstream: int, findings: Findings) -> None:
    store = start_redis(bench.place("shared"))
    ports = [start_sidecar(bench.place(name, upstream=upstream), store).port for name in ("revoking", "watching")]

    def once() -> Latencies:
        found = generate("revocations", *ports, PATH, REVOCATIONS, CLIENT, SECRET)
        return Latencies(found["latencies"], found["question"])

    results = go_round({"revocations": once}, min(bench.options.rounds, MOST_ROUNDS), findings.faults)
    rounds = [each for each in results["revocations"] if each]
    every = Latencies(sorted(one for each in rounds for one in each.found), median([each.question for each in rounds]))
    row = [str(len(every.found)), *(number(every.percentile(percent), 2) for percent in (50, 99, 100))]
    about = ABOUT_REVOCATIONS.format(question=number(every.question))
    findings.lines += [about, "", *table(HEAD_REVOCATIONS, [row])]
    findings.goals.append(Goal("revocation known in another process, p99", every.percentile(99), 50, " ms", digits=1))
