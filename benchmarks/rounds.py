"""Every contender running at once, and the load going round among them."""

import contextlib
import json
import sys
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from benchmarks.contenders import BODY, CLIENT, SECRET, SIDECAR, Contender
from benchmarks.load import ask, load
from benchmarks.machine import Invalid
from benchmarks.place import Place
from benchmarks.report import Commands, Result, Round
from benchmarks.tokens import token

WARM_UP = 2  # seconds


class Running:
    """A contender that does its job, as was seen. Raises `Invalid` when it does not."""

    def __init__(self, contender: Contender, place: Place) -> None:
        self.contender = contender
        self.process, self.port = contender.start(place)
        self.token = self._issued() if contender is SIDECAR else token()
        self._check()
        if contender is SIDECAR:
            self._check_revocation()
        time.sleep(1)  # what a start left to do
        self.result = Result(at_rest=self.process.resident_mib())

    def __repr__(self) -> str:
        return f"<Running {self.contender.name}: {len(self.result.micros)} of {len(self.result.rounds)} rounds valid>"

    def _post(self, path: str, **fields: str) -> str:
        form = urllib.parse.urlencode({"client_id": CLIENT, "client_secret": SECRET, **fields}).encode()
        status, text = ask(self.port, path=path, form=form)
        if status != 200:
            raise Invalid(f"{self.contender.name}: {path} answers {status} {text}")
        return text

    def _issued(self) -> str:
        return str(json.loads(self._post("/oauth/token", grant_type="client_credentials"))["access_token"])

    def _check(self) -> None:
        deadline = time.monotonic() + 10
        while (answer := ask(self.port, self.token)) != (200, BODY):
            if time.monotonic() > deadline:
                raise Invalid(f"{self.contender.name}: {answer} with a token")
            time.sleep(0.1)
        refused = {"no token": None, "a forged one": token(key="f" * 32), "an expired one": token(expires_in=-3600)}
        for what, bearer in refused.items():
            status, _ = ask(self.port, bearer)
            if status != (401 if self.contender.guards else 200):
                raise Invalid(f"{self.contender.name}: {status} with {what}")

    def _check_revocation(self) -> None:
        """Revocation is on: a token that worked does not work once it is revoked."""
        other = self._issued()
        before, _ = ask(self.port, other)
        self._post("/oauth/revoke", token=other)
        after, _ = ask(self.port, other)
        if (before, after) != (200, 401):
            raise Invalid(f"{self.contender.name}: {before} before a token is revoked and {after} after")

    def round(self, seconds: int, connections: int) -> int:
        """Measure once; gives the number of requests. Raises `Invalid` when the round is void, and notes that."""
        before = self.process.cpu_seconds()
        try:
            done = load(self.port, self.token, seconds, connections)
        except Invalid:
            self.result.rounds.append(None)
            raise
        micros = (self.process.cpu_seconds() - before) / done.requests * 1e6
        self.result.rounds.append(Round(micros, done.rate))
        return done.requests


@dataclass
class Measured:
    """Each contender's result by its name; what Redis was asked; what went wrong, a text each."""

    results: dict[str, Result]
    commands: Commands = field(default_factory=Commands)
    faults: list[str] = field(default_factory=list)


class Rounds:
    """`seconds` of load for each in every round, over so many connections; `redis_port` is that of our store."""

    def __init__(self, running: Sequence[Running], *, seconds: int, connections: int, redis_port: int) -> None:
        self._running = running
        self._seconds = seconds
        self._connections = connections
        self._redis = redis_port
        self._measured = Measured({item.contender.name: item.result for item in running})

    def run(self, count: int) -> Measured:
        """Warm up each, then go round so many times, each time beginning with another."""
        for item in self._running:
            load(item.port, item.token, WARM_UP, self._connections)
        for number in range(count):
            first = number % len(self._running)
            for item in [*self._running[first:], *self._running[:first]]:
                self._one(number + 1, item)
        for item in self._running:
            item.result.after = item.process.resident_mib()
        return self._measured

    def _one(self, number: int, item: Running) -> None:
        try:
            if item.contender is SIDECAR:
                self._ours(item)
            else:
                item.round(self._seconds, self._connections)
        except Invalid as exc:
            self._measured.faults.append(f"round {number}: {item.contender.name}: void, {exc}")
            print(self._measured.faults[-1], file=sys.stderr)
        else:
            print(f"round {number}: {item.contender.name}: {item.result.micros[-1]:.1f} µs", file=sys.stderr)

    def _ours(self, item: Running) -> None:
        """A round, then as long a time without requests: what Redis is asked then is asked anyway."""
        with contextlib.closing(redis.Redis(port=self._redis)) as client:
            before, began = _commands(client), time.monotonic()
            requests = item.round(self._seconds, self._connections)
            between, took = _commands(client), time.monotonic() - began
            time.sleep(took)
            after = _commands(client)
        self._measured.commands.requests += requests
        self._measured.commands.loaded += between - before
        self._measured.commands.idle += after - between


def _commands(client: "redis.Redis") -> int:
    """How many commands Redis has run, those within scripts too; not counted: this question."""
    stats: dict[str, Any] = client.info("commandstats")
    return sum(int(entry["calls"]) for name, entry in stats.items() if name != "cmdstat_info")
