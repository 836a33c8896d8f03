"""core.oauth.clients: who a client is, and what finding out costs."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jose.client_keys import from_secret
from sidecar.core.oauth import secrets
from sidecar.core.oauth.clients import AUTH_METHODS, AuthMethod, Client, ClientRegistry, Recognised
from sidecar.core.oauth.secrets import SecretHash, hash_secret, parse_secret_hash
from sidecar.core.reasons import Reason, Refused

SALT = bytes(16)


def fast(secret: str) -> SecretHash:
    return parse_secret_hash(hash_secret(secret, SALT, "sha256"))


def slow(secret: str) -> SecretHash:
    """A scrypt hash that is cheap to check."""
    return SecretHash(SALT, hashlib.scrypt(secret.encode(), salt=SALT, n=2**10, r=1, p=1, dklen=32), (10, 1, 1))


def client(client_id: str, *secrets: SecretHash, **fields: Any) -> Client:
    return Client(client_id, secrets, frozenset(), **fields)


FAST_ONLY = [client("fast", fast("f-secret")), client("fast-off", fast("f-secret"), disabled=True)]
MIXED = [*FAST_ONLY, client("slow", slow("s-secret")), client("slow-off", slow("s-secret"), disabled=True)]
UNKNOWN, WRONG, OFF = Reason.UNKNOWN_CLIENT, Reason.BAD_CLIENT_SECRET, Reason.CLIENT_DISABLED
OUTCOMES: list[tuple[str, list[str], Reason | None]] = [
    ("fast", ["f-secret"], None),
    ("fast", ["other", "f-secret"], None),
    ("fast", ["f-secret", "other"], None),
    ("fast", ["s-secret"], WRONG),
    ("fast", ["f-secret\0"], WRONG),
    ("fast", ["\ud800"], WRONG),
    ("fast", [""], WRONG),
    ("fast", [], WRONG),
    ("fast-off", ["f-secret"], OFF),
    ("fast-off", ["wrong"], WRONG),
    ("FAST", ["f-secret"], UNKNOWN),
    ("fast ", ["f-secret"], UNKNOWN),
    ("\ud800", ["f-secret"], UNKNOWN),
    ("", [""], UNKNOWN),
    ("nobody", [], UNKNOWN),
]
SLOW_OUTCOMES: list[tuple[str, list[str], Reason | None]] = [
    ("slow", ["s-secret"], None),
    ("slow", ["other", "s-secret"], None),
    ("slow", ["f-secret"], WRONG),
    ("slow", ["s-secret\0"], WRONG),
    ("slow", [], WRONG),
    ("slow-off", ["s-secret"], OFF),
    ("slow-off", ["wrong"], WRONG),
]


def registry(clients: list[Client], memo_key: bytes = bytes(32)) -> ClientRegistry:
    return ClientRegistry(clients, memo_key)


Ask = Callable[[str, list[str], AuthMethod], Recognised | None]


def outcome(
    ask: Ask, client_id: str, tried: list[str], method: AuthMethod = "client_secret_basic"
) -> Reason | str | None:
    """The reason for a refusal, the id of who was recognised, or `None` when it could not be told."""
    try:
        found = ask(client_id, tried, method)
    except Refused as refused:
        reason, named = refused.reason, refused.client_id
    else:
        return found and found.client.client_id
    assert named == (None if reason is UNKNOWN else client_id), "only a registered name may stand in a log"
    return reason


@pytest.mark.parametrize(("client_id", "tried", "reason"), OUTCOMES)
@pytest.mark.parametrize("clients", [FAST_ONLY, MIXED])
def test_a_client_is_who_knows_its_secret(
    clients: list[Client], client_id: str, tried: list[str], reason: Reason | None
) -> None:
    assert outcome(registry(clients).authenticate, client_id, tried) == (reason or client_id)


@pytest.mark.parametrize(("client_id", "tried", "reason"), SLOW_OUTCOMES)
def test_a_slow_secret_is_held_to_the_same_rules(client_id: str, tried: list[str], reason: Reason | None) -> None:
    assert outcome(registry(MIXED).authenticate, client_id, tried) == (reason or client_id)


@pytest.mark.parametrize(("client_id", "tried", "reason"), OUTCOMES)
def test_without_slow_secrets_recall_knows_all(client_id: str, tried: list[str], reason: Reason | None) -> None:
    assert outcome(registry(FAST_ONLY).recall, client_id, tried) == (reason or client_id)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each slow hash that is run: the secret it was run on."""
    runs: list[str] = []
    digest = secrets._digest

    def counted(secret: str, salt: bytes, cost: tuple[int, int, int] | None, length: int) -> bytes:
        if cost is not None:
            runs.append(secret)
        return digest(secret, salt, cost, length)

    monkeypatch.setattr(secrets, "_digest", counted)
    return runs


@pytest.mark.parametrize("client_id", ["fast", "fast-off", "slow", "slow-off", "nobody", ""])
@pytest.mark.parametrize("tried", [["w"], ["w", "v"], ["w\0"]])
def test_a_failure_runs_a_slow_hash_for_each_reading_whoever_it_is(
    hashes: list[str], client_id: str, tried: list[str]
) -> None:
    assert outcome(registry(MIXED).authenticate, client_id, tried) in (WRONG, UNKNOWN)
    assert hashes == [secret for secret in tried if "\0" not in secret]


@pytest.mark.parametrize("client_id", ["fast", "fast-off", "nobody"])
def test_without_slow_secrets_no_failure_is_slow(hashes: list[str], client_id: str) -> None:
    assert outcome(registry(FAST_ONLY).authenticate, client_id, ["w", "v"]) in (WRONG, UNKNOWN)
    assert hashes == []


@pytest.mark.parametrize(
    ("client_id", "tried", "expected"),
    [
        ("fast", "f-secret", "fast"),
        ("fast-off", "f-secret", OFF),
        ("slow", "s-secret", "slow"),
        ("slow-off", "s-secret", OFF),
        ("fast", "w", None),
        ("slow", "w", None),
        ("slow", "", None),
        ("slow-off", "w", None),
        ("nobody", "s-secret", None),
    ],
)
def test_recall_runs_no_slow_hash_and_gives_no_verdict_on_a_failure(
    hashes: list[str], client_id: str, tried: str, expected: Reason | str | None
) -> None:
    clients = registry(MIXED)
    for name in ("slow", "slow-off"):
        outcome(clients.authenticate, name, ["s-secret"])
    hashes.clear()
    assert outcome(clients.recall, client_id, [tried]) == expected
    assert outcome(clients.recall, client_id, ["other reading", tried]) == expected
    assert hashes == []


def test_only_a_success_is_remembered() -> None:
    clients = registry(MIXED)
    assert outcome(clients.recall, "slow", ["s-secret"]) is None
    assert outcome(clients.authenticate, "slow", ["w"]) is WRONG
    assert outcome(clients.recall, "slow", ["w"]) is None
    assert outcome(clients.authenticate, "slow", ["w", "s-secret"]) == "slow"
    assert outcome(clients.recall, "slow", ["w"]) is None, "the reading that passed, not the one beside it"
    assert outcome(clients.recall, "slow", ["s-secret"]) == "slow"
    assert outcome(clients.authenticate, "slow", ["w"]) is WRONG
    assert outcome(clients.recall, "slow", ["s-secret"]) == "slow", "a failure makes nobody forget"


TWO = [
    client("two", fast("old"), fast("new")),
    client("mixed", slow("old"), fast("new")),
    client("slows", slow("old"), slow("new")),
]


@pytest.mark.parametrize("client_id", ["two", "mixed", "slows"])
@pytest.mark.parametrize(("secret", "number"), [("old", 1), ("new", 2)])
def test_each_of_two_secrets_lets_in_and_is_told_apart(client_id: str, secret: str, number: int) -> None:
    clients = registry(TWO)
    for _ in range(2):
        assert clients.authenticate(client_id, ["x", secret], "client_secret_post") == (clients.find(client_id), number)
        assert clients.recall(client_id, ["x", secret], "client_secret_post") == (clients.find(client_id), number)
    assert outcome(clients.authenticate, client_id, ["neither"]) is WRONG


@pytest.mark.parametrize("client_id", ["two", "mixed", "slows", "fast", "slow", "nobody"])
def test_a_failure_runs_as_many_slow_hashes_as_the_client_with_the_most(hashes: list[str], client_id: str) -> None:
    assert outcome(registry([*MIXED, *TWO]).authenticate, client_id, ["w", "v"]) in (WRONG, UNKNOWN)
    assert hashes == ["w", "w", "v", "v"]


def test_the_decoy_is_the_slowest_hash_there_is() -> None:
    costly = slow("s")._replace(cost=(11, 1, 1))
    assert registry([*MIXED, client("costly", costly)])._decoys[0].hash == costly


@pytest.mark.parametrize("client_id", ["two", "mixed", "slows", "fast", "fast-off", "slow", "nobody"])
def test_a_failure_runs_as_many_fast_hashes_whoever_it_is(monkeypatch: pytest.MonkeyPatch, client_id: str) -> None:
    runs: list[bool] = []
    matches = SecretHash.matches

    def counted(self: SecretHash, secret: str) -> bool:
        runs.append(self.slow)
        return matches(self, secret)

    monkeypatch.setattr(SecretHash, "matches", counted)
    assert outcome(registry([*MIXED, *TWO]).authenticate, client_id, ["w"]) in (WRONG, UNKNOWN)
    assert sorted(runs) == [False, False, True, True]


def pinned(method: AuthMethod | None, *secrets: SecretHash, keys: int = 0) -> Client:
    return client("c", *secrets, token_endpoint_auth_method=method, keys=(from_secret("k" * 32),) * keys)


@pytest.mark.parametrize(
    ("made", "methods"),
    [
        (pinned(None, fast("s")), ("client_secret_basic", "client_secret_post")),
        (pinned(None, fast("s"), keys=1), ("client_secret_basic", "client_secret_post", "private_key_jwt")),
        (pinned(None, keys=1), ("private_key_jwt",)),
        (pinned(None), ()),
        *((pinned(method, fast("s"), keys=1), (method,)) for method in AUTH_METHODS),
    ],
)
def test_a_method_is_taken_when_it_is_registered_or_possible(made: Client, methods: tuple[AuthMethod, ...]) -> None:
    assert made.auth_methods == methods
    assert made.public is (methods == ("none",))
    clients = registry([made])
    for method in AUTH_METHODS:
        found = outcome(clients.authenticate, "c", ["s"], method)
        expected = "c" if method in methods else Reason.WRONG_AUTH_METHOD
        assert found == (expected if made.secrets else WRONG)


def test_who_does_not_know_the_secret_is_not_told_of_the_method() -> None:
    clients = registry([pinned("client_secret_post", fast("s"))])
    assert outcome(clients.authenticate, "c", ["w"], "client_secret_basic") is WRONG
    assert outcome(clients.recall, "c", ["s"], "client_secret_basic") is Reason.WRONG_AUTH_METHOD


def test_what_is_remembered_is_keyed_by_the_process() -> None:
    one, other = (registry(MIXED, bytes([number]) * 32) for number in (1, 2))
    for clients in (one, other):
        clients.authenticate("slow", ["s-secret"], "client_secret_post")
    assert one._memo.keys() == other._memo.keys() == {"slow"}
    assert one._memo != other._memo
    assert "s-secret" not in repr(vars(one))


def test_failures_fill_no_memory() -> None:
    clients = registry(MIXED)
    for number in range(50):
        outcome(clients.authenticate, f"nobody-{number}", ["s-secret"])
        outcome(clients.authenticate, "slow", [f"w{number}"])
    assert clients._memo == {}


@given(st.text(max_size=10), st.lists(st.text(st.characters(exclude_categories=[]), max_size=10), max_size=2))
def test_whatever_is_tried_is_recognised_or_refused(client_id: str, tried: list[str]) -> None:
    expected = WRONG if client_id in {row.client_id for row in MIXED} else UNKNOWN
    assert outcome(registry(MIXED).authenticate, client_id, tried) is expected
    assert outcome(registry(MIXED).recall, client_id, tried) is None


def test_a_registry_knows_its_clients_disabled_or_not() -> None:
    clients = registry(MIXED)
    assert [clients.knows(name) for name in ("fast", "slow-off", "Fast", "")] == [True, True, False, False]
    assert repr(clients) == "<ClientRegistry 4 clients>"


def test_a_registry_finds_and_lists_its_clients() -> None:
    clients = registry(MIXED)
    assert [each.client_id for each in clients] == ["fast", "fast-off", "slow", "slow-off"]
    assert clients.find("slow-off") == MIXED[3]
    assert clients.find("nobody") is None
