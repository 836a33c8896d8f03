"""core.throttling and oauth.clients.throttle: who guesses is slowed down, and nobody else."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.assembly.clients import unguessable
from sidecar.config.settings import Client as ClientSettings
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.core.throttling import Budget, Budgets, Consumed, Rate
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.clients.throttle import (
    Memory,
    Rates,
    Throttle,
    ThrottledClients,
    ThrottledLogins,
    claimed_id,
    network_of,
)
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore

RATE = Rate(3, 60)


@given(st.lists(st.floats(0, 300), max_size=60), st.integers(1, 10), st.floats(0.1, 100))
def test_a_budget_never_gives_more_than_its_rate(gaps: list[float], burst: int, seconds: float) -> None:
    rate, budgets = Rate(burst, seconds), Budgets()
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        (spent,) = budgets.consume([Budget("a", rate)], now)
        assert 0 <= spent.wait <= rate.interval * 1.001
        if spent.taken:
            taken.append(now)
        else:
            assert spent.wait > 0
    for start in taken:
        within = [each for each in taken if start <= each < start + seconds * 0.999]
        assert len(within) <= 2 * burst
        assert len([each for each in taken if each == start]) <= burst


def test_the_wait_is_true() -> None:
    budgets = Budgets()
    said = [budgets.consume([Budget("a", RATE)], 100.0)[0] for _ in range(4)]
    assert said == [(True, 0, True), (True, 0, False), (True, 20, False), (False, 20, False)]
    assert budgets.consume([Budget("a", RATE)], 119.9)[0] == (False, pytest.approx(0.1), False)
    assert budgets.consume([Budget("a", RATE)], 120.0)[0] == (True, pytest.approx(20), False)
    assert budgets.consume([Budget("a", RATE)], 120.0)[0] == (False, pytest.approx(20), False)
    assert budgets.consume([Budget("a", RATE)], 500.0)[0].fresh


def test_budgets_are_bounded_and_what_is_full_is_forgotten() -> None:
    budgets = Budgets(most=2)
    for number in range(10):
        budgets.consume([Budget(str(number), RATE)], 0.0)
    assert repr(budgets) == "<Budgets 2>"
    budgets.consume([Budget("new", RATE)], 20.0)
    assert repr(budgets) == "<Budgets 1>"


class StoreDown(MemoryStore):
    """Counts nothing."""

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        raise StoreUnavailable("no connection")


RATES = Rates(address=Rate(10, 100), name=Rate(20, 100), both=Rate(3, 30))
LONG = "s" * 32


def client(client_id: str, secret: str) -> Client:
    hashed = parse_secret_hash(hash_secret(secret, bytes(16), "sha256"))
    return Client(client_id, (hashed,), frozenset())


class Served:
    """Clients `weak` and `strong`; time stands still unless `now` is set. `spends` counts the store's work."""

    def __init__(
        self, store: type[MemoryStore] = MemoryStore, requests: Rate | None = None, rates: Rates = RATES
    ) -> None:
        self.now = 1000.0
        self.spends = 0
        served = self

        class Counting(store):  # type: ignore[misc,valid-type]
            async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
                served.spends += 1
                return list(await super().consume(budgets))

        self.store = Counting(clock=lambda: self.now, emit=lambda _: None)
        self.processes = [self.process(requests, rates) for _ in range(2)]

    def process(self, requests: Rate | None, rates: Rates) -> ThrottledClients:
        registry = ClientRegistry([client("weak", "secret"), client("strong", LONG)], bytes(32))
        inner = ClientAuthenticator(registry, hashes=SlowHashes("secrets"), realm="r")
        throttle = Throttle("client", rates, memory=Memory(), store=self.store, monotonic=lambda: self.now)
        return ThrottledClients(inner, throttle, unguessable={"strong"}, requests=requests)

    def ask(self, name: str, secret: str, address: str = "10.0.0.1", process: int = 0) -> Refused | None:
        request = EndpointRequest("POST", "/oauth/token", "", (), b"", address)
        parameters = {"client_id": name, "client_secret": secret}
        try:
            found = asyncio.run(self.processes[process].authenticate(request, parameters))
        except Refused as refused:
            return refused
        assert found.client_id == name
        return None

    def status(self, *asked: Any, **named: Any) -> int:
        refused = self.ask(*asked, **named)
        return refused.reason.status if refused else 200


@pytest.fixture
def served() -> Served:
    return Served()


def test_who_fails_too_often_has_to_wait_as_long_as_it_is_told(served: Served) -> None:
    assert [served.status("weak", "wrong") for _ in range(5)] == [401, 401, 401, 429, 429]
    refused = served.ask("weak", "secret")
    assert refused
    assert (refused.reason, refused.retry_after) == (Reason.THROTTLED, 10)
    reply = served.processes[0].refuse(refused)
    assert [value for name, value in reply.headers if name == "Retry-After"] == ["10"]
    assert json.loads(reply.body)["error_description"] == "Too many requests; try again in 10 seconds."
    served.now += 10
    assert served.status("weak", "secret") == 200


def test_a_storm_does_not_lock_out_who_comes_from_elsewhere(served: Served) -> None:
    """From one address or from a hundred."""
    for number in range(300):
        served.status("weak", "wrong", f"10.0.1.{number % 100}")
    assert served.status("weak", "wrong", "10.0.1.1") == 429
    assert served.status("weak", "secret", "10.0.0.1") == 200
    assert served.status("weak", "secret", "10.0.0.1", process=1) == 200


def test_a_storm_from_many_addresses_stops_each_after_its_first_failures(served: Served) -> None:
    said = [[served.status("weak", "wrong", f"10.0.{number}.1") for _ in range(3)] for number in range(60)]
    assert said[0] == [401, 401, 401]
    assert said[-1] == [401, 401, 429]


def test_a_storm_does_not_lock_out_whose_secret_cannot_be_guessed(served: Served) -> None:
    """Not even from the storm's own address: it may be that of a proxy which everybody comes through."""
    for _ in range(50):
        served.status("strong", "wrong")
        served.status("weak", "wrong")
    assert served.status("strong", "wrong") == 429
    assert served.status("strong", LONG) == 200
    assert served.status("weak", "secret") == 429


def test_an_address_has_a_budget_whatever_names_it_tries(served: Served) -> None:
    said = [served.status(f"name-{number}", "x") for number in range(20)]
    assert said == [401] * 10 + [429] * 10
    assert served.status("weak", "secret", "10.0.0.2") == 200


def test_a_name_that_does_not_exist_is_like_any_other(served: Served) -> None:
    asked = [("weak", "10.0.0.1"), ("nobody", "10.0.0.2")]
    said = [[served.status(name, "x", address) for _ in range(8)] for name, address in asked]
    assert said[0] == said[1]


def test_another_process_finds_out_by_itself(served: Served) -> None:
    for _ in range(5):
        served.status("weak", "wrong")
    assert [served.status("weak", "wrong", process=1) for _ in range(2)] == [401, 429]


def test_success_costs_the_store_nothing(served: Served) -> None:
    assert [served.status("weak", "secret") for _ in range(100)] == [200] * 100
    assert served.spends == 0
    for _ in range(50):
        served.status("weak", "wrong")
    assert served.spends == 3, "and so does a storm, once it is known"


def test_what_is_no_failure_of_the_client_is_not_counted(served: Served) -> None:
    request = EndpointRequest("POST", "/", "", (("Authorization", "Basic x"), ("Authorization", "Basic x")), b"", "a")
    for _ in range(20):
        with pytest.raises(Refused) as caught:
            asyncio.run(served.processes[0].authenticate(request, {}))
        assert caught.value.reason is Reason.INVALID_REQUEST
    assert served.spends == 0


def test_without_the_store_each_process_counts_for_itself() -> None:
    served = Served(StoreDown)
    assert [served.status("weak", "wrong") for _ in range(5)] == [401, 401, 401, 429, 429]
    assert served.status("weak", "wrong", process=1) == 401
    assert served.status("strong", LONG) == 200


def test_all_requests_of_a_client_can_be_counted() -> None:
    served = Served(requests=Rate(5, 10))
    assert [served.status("strong", LONG, process=number % 2) for number in range(7)] == [200] * 5 + [429] * 2
    refused = served.ask("strong", LONG)
    assert refused
    assert (refused.retry_after, refused.client_id) == (2, "strong")
    assert served.status("weak", "secret") == 200


def test_what_is_off_is_off() -> None:
    served = Served(rates=Rates(None, None, None))
    assert {served.status("weak", "wrong") for _ in range(100)} == {401}


def test_logins_that_fail_are_counted_likewise(served: Served) -> None:
    throttle = Throttle("user", RATES, memory=Memory(), store=served.store, monotonic=lambda: served.now)
    logins = ThrottledLogins(throttle)

    def attempt(name: str, address: str) -> int:
        try:
            logins.check(name, address)
        except Refused as refused:
            return refused.reason.status
        asyncio.run(logins.failed(name, address))
        return 403

    assert [attempt("alice", "10.0.0.1") for _ in range(5)] == [403, 403, 403, 429, 429]
    for number in range(100):
        attempt("alice", f"10.0.1.{number}")
    assert attempt("alice", "10.0.0.9") == 403, "who has not tried yet is not locked out"


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_is_its_network(peer: str, network: str) -> None:
    assert network_of(peer) == network


def basic(text: bytes) -> tuple[tuple[str, str], ...]:
    return (("Authorization", "Basic " + base64.b64encode(text).decode()),)


ASSERTION = "e30." + base64.urlsafe_b64encode(b'{"sub": "a"}').decode().rstrip("=") + ".x"


@pytest.mark.parametrize(
    ("headers", "parameters", "name"),
    [
        ((), {}, ""),
        ((), {"client_id": "a"}, "a"),
        (basic(b"a:b"), {}, "a"),
        (basic(b"a%20b:c"), {}, "a b"),
        (basic(b"a%:c"), {}, "a%"),
        (basic(b"\xff:c"), {}, ""),
        ((("Authorization", "Basic !"),), {}, ""),
        ((("Authorization", "Bearer x"),), {}, ""),
        ((), {"client_assertion": ASSERTION}, "a"),
        ((), {"client_assertion": ASSERTION, "client_id": "b"}, "b"),
        ((), {"client_assertion": "x"}, ""),
        ((), {"client_assertion": "a.!.c"}, ""),
        ((), {"client_assertion": "a.W10.c"}, ""),
        ((), {"client_assertion": "a." + "W1tb" * 1000 + ".c"}, ""),
        ((), {"client_assertion": "a.eyJzdWIiOiAxfQ.c"}, ""),
        ((), {"client_assertion": ASSERTION.replace(".x", "=.x")}, ""),
    ],
)
def test_who_a_request_says_it_comes_from(headers: Any, parameters: dict[str, str], name: str) -> None:
    assert claimed_id(EndpointRequest("POST", "/", "", headers, b"", "a"), parameters) == name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"client_secret": "hunter2"}, False),
        ({"client_secret": LONG}, True),
        ({"client_secret_hash": hash_secret("x", bytes(16), "sha256")}, True),
        ({"client_secret_hash": hash_secret("x", bytes(16), "scrypt")}, False),
        (
            {"client_secret_hashes": [hash_secret("x", bytes(16), "sha256"), hash_secret("x", bytes(16), "scrypt")]},
            False,
        ),
    ],
)
def test_a_secret_that_is_long_cannot_be_guessed(fields: dict[str, Any], said: bool) -> None:
    assert unguessable(ClientSettings.model_validate({"client_id": "c", **fields})) is said
