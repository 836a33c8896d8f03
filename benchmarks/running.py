"""A contender that runs and was seen to do its job, and what its requests cost."""

import json
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import BODY, CLIENT, LENGTH, SECRET, Contender
from benchmarks.load import PATH, POSTED, Load, ask
from benchmarks.machine import Invalid
from benchmarks.place import Place, Started, Store
from benchmarks.tokens import token


@dataclass(frozen=True)
class Cost:
    """One load: requests, their rate per second, µs of CPU per request, and of Redis: µs and commands per request."""

    requests: int
    rate: float
    micros: float
    redis_micros: float
    redis_commands: float

    def __str__(self) -> str:
        return f"{self.micros:.1f} µs"


def cost(started: Started, work: Callable[[], Load]) -> Cost:
    """What a load costs that `work` puts on it."""
    before = _used(started)
    done = work()
    used, in_redis, commands = (after - earlier for after, earlier in zip(_used(started), before, strict=True))
    each = 1 / done.requests
    return Cost(done.requests, done.rate, used * 1e6 * each, in_redis * 1e6 * each, commands * each)


def _used(started: Started) -> tuple[float, float, int]:
    store = started.store
    of_redis = (store.process.cpu_seconds(), store.commands()) if store else (0.0, 0)
    return started.cpu_seconds(), *of_redis


class Running:
    """Raises `Invalid` when the contender does not do its job."""

    def __init__(self, contender: Contender, place: Place) -> None:
        self.contender = contender
        self.started = contender.start(place)
        self.port = self.started.port
        self._trust = place.certificate.chain if place.certificate else None
        self.token = self._issued() if contender.issues else token()
        self._check()
        time.sleep(1)  # what a start left to do
        self.at_rest = self.started.resident_mib()

    def __repr__(self) -> str:
        return f"<Running {self.contender.name} on {self.port}>"

    def cost(self, work: Callable[[], Load]) -> Cost:
        """What a load costs that `work` puts on it."""
        return cost(self.started, work)

    def check_post(self) -> None:
        """A JSON body reaches the API whole, and only with a token."""
        document = {"item": "x" * (POSTED - 12)}
        asked = {bearer: self._ask(bearer, LENGTH, document) for bearer in (self.token, None)}
        refused = 401 if self.contender.guards else 200
        if asked[self.token] != (200, str(POSTED)) or asked[None][0] != refused:
            raise Invalid(f"{self.contender.name}: {asked[self.token]} to a POST, and without a token {asked[None]}")

    def _ask(self, bearer: str | None, path: str = PATH, document: object = None) -> tuple[int, str]:
        return ask(self.port, bearer, path, document=document, trust=self._trust)

    def _post(self, path: str, **fields: str) -> str:
        form = urllib.parse.urlencode({"client_id": CLIENT, "client_secret": SECRET, **fields}).encode()
        status, text = ask(self.port, path=path, form=form, trust=self._trust)
        if status != 200:
            raise Invalid(f"{self.contender.name}: {path} answers {status} {text}")
        return text

    def _issued(self) -> str:
        return str(json.loads(self._post("/oauth/token", grant_type="client_credentials"))["access_token"])

    def _check(self) -> None:
        deadline = time.monotonic() + 10
        while (answer := self._ask(self.token)) != (200, BODY):
            if time.monotonic() > deadline:
                raise Invalid(f"{self.contender.name}: {answer} with a token")
            time.sleep(0.1)
        refused = {"no token": None, "a forged one": token(key="f" * 32), "an expired one": token(expires_in=-3600)}
        for what, bearer in refused.items():
            status, _ = self._ask(bearer)
            if status != (401 if self.contender.guards else 200):
                raise Invalid(f"{self.contender.name}: {status} with {what}")
        if self.started.store is not None:
            self._check_revocation(self.started.store)

    def _check_revocation(self, store: Store) -> None:
        """Revocation is on: a token that worked does not work once it is revoked."""
        jti = "to-be-revoked"
        other = token(jti=jti)
        before, _ = self._ask(other)
        if self.contender.issues:
            self._post("/oauth/revoke", token=other)
        else:
            store.client.set(f"revoked:{jti}", 1)
        after, _ = self._ask(other)
        if (before, after) != (200, 401):
            raise Invalid(f"{self.contender.name}: {before} before a token is revoked and {after} after")
