"""core.clients: who a client is, and what finding out costs."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import secrets
from sidecar.core.clients import AuthMethod, Client, ClientRegistry, Recognised
from sidecar.core.reasons import Reason, Refused
from sidecar.core.secrets import SecretHash, hash_secret, parse_secret_hash

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
