"""Who may ask, and for what."""

from typing import Any

import pytest

from sidecar.core import secrets
from sidecar.core.clients import Client, ClientRegistry
from sidecar.core.grants import check_grant, narrow_scope
from sidecar.core.reasons import Reason, Refused
from sidecar.core.secrets import SecretHash, hash_secret, parse_secret_hash

FAST = parse_secret_hash(hash_secret("fast-secret", bytes(16), "sha256"))
SLOW = parse_secret_hash(hash_secret("slow-secret", bytes(16), "scrypt"))


def client(client_id: str = "c", secret: SecretHash = FAST, **fields: Any) -> Client:
    return Client(client_id, secret, frozenset(["client_credentials"]), **fields)


def registry(*clients: Client) -> ClientRegistry:
    return ClientRegistry(clients, memo_key=bytes(32))


def reason_of(clients: ClientRegistry, client_id: str, *tried: str) -> Reason:
    with pytest.raises(Refused) as caught:
        clients.authenticate(client_id, tried)
    return caught.value.reason


@pytest.mark.parametrize(("secret", "right"), [(FAST, "fast-secret"), (SLOW, "slow-secret")])
def test_the_right_secret_is_the_only_one(secret: SecretHash, right: str) -> None:
    clients = registry(client(secret=secret))
    assert clients.authenticate("c", [right]).client_id == "c"
    assert clients.authenticate("c", ["other reading", right]).client_id == "c"
    assert reason_of(clients, "c", "wrong") is Reason.BAD_CLIENT_SECRET
    assert reason_of(clients, "c", "") is Reason.BAD_CLIENT_SECRET
    assert reason_of(clients, "nobody", right) is Reason.UNKNOWN_CLIENT


def test_a_disabled_client_is_told_only_when_its_secret_was_right() -> None:
    clients = registry(client(disabled=True))
    assert reason_of(clients, "c", "fast-secret") is Reason.CLIENT_DISABLED
    assert reason_of(clients, "c", "wrong") is Reason.BAD_CLIENT_SECRET


def test_every_failure_costs_the_same_number_of_slow_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    digest = secrets._digest

    def counted(secret: str, salt: bytes, cost: Any, length: int) -> bytes:
        runs.append(cost is not None)
        return digest(secret, salt, cost, length)

    monkeypatch.setattr(secrets, "_digest", counted)
    clients = registry(client("fast"), client("slow", SLOW))
    counts = set()
    for name in ("fast", "slow", "nobody"):
        runs.clear()
        with pytest.raises(Refused):
            clients.authenticate(name, ["wrong"])
        counts.add(sum(runs))
    assert counts == {1}


def test_without_slow_secrets_nothing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = registry(client())
    assert clients.recall("c", ["fast-secret"]) == client()
    with pytest.raises(Refused):
        clients.recall("nobody", ["x"])


def test_a_secret_that_passed_once_is_recalled_without_the_slow_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = registry(client("slow", SLOW))
    assert clients.recall("slow", ["slow-secret"]) is None, "nobody knows yet"
    clients.authenticate("slow", ["slow-secret"])
    monkeypatch.setattr(secrets, "_digest", lambda *_: pytest.fail("a slow hash was run"))
    assert clients.recall("slow", ["slow-secret"]) is not None
    assert clients.recall("slow", ["wrong"]) is None
    assert clients.recall("nobody", ["slow-secret"]) is None


def test_a_disabled_client_is_not_recalled() -> None:
    clients = registry(client("slow", SLOW, disabled=True), client("fast", disabled=True))
    with pytest.raises(Refused):
        clients.authenticate("slow", ["slow-secret"])
    for name, secret in (("slow", "slow-secret"), ("fast", "fast-secret")):
        with pytest.raises(Refused) as caught:
            clients.recall(name, [secret])
        assert caught.value.reason is Reason.CLIENT_DISABLED


def test_the_memory_holds_no_secret() -> None:
    clients = registry(client("slow", SLOW))
    clients.authenticate("slow", ["slow-secret"])
    assert "slow-secret" not in repr(vars(clients)) + repr(clients)


GRANTS = {
    None: Reason.INVALID_REQUEST,
    "password": Reason.UNSUPPORTED_GRANT,
    "CLIENT_CREDENTIALS": Reason.UNSUPPORTED_GRANT,
    "refresh_token": Reason.UNSUPPORTED_GRANT,
}


@pytest.mark.parametrize("grant", GRANTS)
def test_other_grants_are_refused(grant: str | None) -> None:
    with pytest.raises(Refused) as caught:
        check_grant(grant, client())
    assert caught.value.reason is GRANTS[grant]


def test_a_client_uses_only_the_grants_that_it_was_given() -> None:
    assert check_grant("client_credentials", client()) == "client_credentials"
    with pytest.raises(Refused) as caught:
        check_grant("client_credentials", client()._replace(grant_types=frozenset(["implicit"])))
    assert caught.value.reason is Reason.UNAUTHORIZED_GRANT
    assert caught.value.client_id == "c"


SCOPES = {None: ("a", "b"), "a": ("a",), "b a": ("b", "a"), "a a": ("a",), " a ": ("a",)}


@pytest.mark.parametrize("asked", SCOPES)
def test_scopes_narrow(asked: str | None) -> None:
    assert narrow_scope(client(scope=("a", "b")), asked) == SCOPES[asked]


@pytest.mark.parametrize("asked", ["c", "a c", "A", " ", "a,b", "a\tb"])
def test_scopes_never_widen(asked: str) -> None:
    with pytest.raises(Refused) as caught:
        narrow_scope(client(scope=("a", "b")), asked)
    assert caught.value.reason is Reason.INVALID_SCOPE


def test_a_client_without_scopes_gets_none() -> None:
    assert narrow_scope(client(), None) == ()
    with pytest.raises(Refused):
        narrow_scope(client(), "a")
