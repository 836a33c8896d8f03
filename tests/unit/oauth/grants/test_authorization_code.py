"""oauth.grants.authorization_code: codes and what comes of them, over the memory store. With browsers and clients: tests/e2e/test_authorize.py."""

import asyncio
import json
from typing import Any

import pytest

from sidecar.core.digests import digest
from sidecar.core.events import Event, TokenRevoked
from sidecar.core.oauth.authorization import AuthorizationRequest, RedirectTarget
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import Granted
from sidecar.core.oauth.refresh_tokens import Family, FamilyAccess, grant_of_code, of_code
from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.grants.authorization_code import AGAIN, AuthorizationCodes
from sidecar.stores.memory import MemoryStore
from tests.support.people import CHALLENGE, VERIFIER

NOW = 1_800_000_000.5
CALLBACK = "https://app.example/cb"
CODE = "c" * 43
APP, OTHER = (Client(name, (), frozenset(["authorization_code"])) for name in ("app", "other"))


class World:
    """Codes of one user; time stands still unless `now` is set."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = NOW
        self.store = MemoryStore(clock=lambda: self.now, emit=self.events.append)
        self.users = [User("anna", "", ("clerk",))]

    @property
    def codes(self) -> AuthorizationCodes:
        return AuthorizationCodes(
            self.store,
            UserDirectory(self.users, key=bytes(32)),
            ttl=60,
            clock=lambda: self.now,
            new_code=lambda: CODE,
            emit=self.events.append,
        )

    def issue(self, *, named: bool = True) -> None:
        asked = AuthorizationRequest(
            RedirectTarget(APP, CALLBACK, named=named), "code", ("a",), None, CHALLENGE, frozenset()
        )
        assert asyncio.run(self.codes.issue(asked, "anna", ("a",))) == CODE

    def redeem(self, client: Client = APP, **changes: str | None) -> Granted | Reason:
        sent = {"code": CODE, "code_verifier": VERIFIER, "redirect_uri": CALLBACK, **changes}
        try:
            return asyncio.run(self.codes(client, {name: value for name, value in sent.items() if value is not None}))
        except Refused as exc:
            return exc.reason

    def open(self, jti: str) -> bool:
        """What the token endpoint does then."""
        family = Family("app", "anna", (), ("a",), int(self.now), int(self.now) + 1000)
        return asyncio.run(
            self.store.open_family(
                digest(grant_of_code(CODE)), family, "t0", FamilyAccess(jti, int(self.now) + 60), 1000
            )
        )


GRANTED = Granted("anna", ("clerk",), ("a",), grant_id=grant_of_code(CODE), seed=of_code(CODE), since=int(NOW))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("opened", [True, False])
def test_a_code_is_answered_again_for_a_while(world: World, opened: bool) -> None:
    """Whatever became of the first use."""
    world.issue()
    world.now += 59
    assert world.redeem() == GRANTED
    assert not opened or world.open("j0")
    world.now += AGAIN - 1
    assert world.redeem() == GRANTED
    world.now += 1
    assert world.redeem() is Reason.CODE_REPLAYED
    assert not world.open("j1"), "the first use comes too late"
    assert world.events == ([TokenRevoked("app", "j0")] if opened else [])


def test_trying_again_does_not_make_the_while_longer(world: World) -> None:
    world.issue()
    for _ in range(3):
        assert world.redeem() == GRANTED
        world.now += AGAIN / 3
    assert world.redeem() is Reason.CODE_REPLAYED


NOT_AGAIN: dict[str, dict[str, str | None]] = {
    "another verifier": {"code_verifier": "w" * 43},
    "another redirect URI": {"redirect_uri": CALLBACK + "2"},
    "no redirect URI": {"redirect_uri": None},
}


@pytest.mark.parametrize("case", NOT_AGAIN)
def test_a_used_code_in_other_hands_ends_what_it_gave(world: World, case: str) -> None:
    """Also while the first use is still being answered; before its use it proves nothing, and ends nothing."""
    world.issue()
    assert world.redeem(**NOT_AGAIN[case]) is Reason.CODE_INVALID
    assert world.redeem() == GRANTED
    assert world.redeem(OTHER, **NOT_AGAIN[case]) is Reason.CODE_INVALID
    assert world.redeem(**NOT_AGAIN[case]) is Reason.CODE_REPLAYED
    assert not world.open("j0"), "the first use comes too late"


def test_a_used_code_that_is_forgotten_ends_what_it_gave(world: World) -> None:
    world.issue()
    world.redeem()
    assert world.open("j0")
    world.now += 900
    world.store._purge()
    assert not world.store._values
    for _ in range(2):
        assert world.redeem() is Reason.CODE_REPLAYED
    world.now += 200
    world.store._purge()
    assert world.redeem() is Reason.CODE_INVALID
    assert not world.store._forbidden, "whatever is sent as a code"


@pytest.mark.parametrize("late", [0, 900])
def test_another_clients_code_is_not_ended(world: World, late: int) -> None:
    world.issue()
    world.redeem()
    assert world.open("j0")
    world.now += late
    assert world.redeem(OTHER) is Reason.CODE_INVALID
    assert world.events == []


def test_a_code_ends(world: World) -> None:
    world.issue()
    world.now += 60
    assert world.redeem() is Reason.CODE_INVALID


def test_a_user_who_is_gone_has_no_codes(world: World) -> None:
    world.issue()
    assert world.redeem() == GRANTED
    world.users = []
    assert world.redeem() is Reason.CODE_INVALID


def test_a_redirect_uri_that_was_not_named_need_not_come(world: World) -> None:
    world.issue(named=False)
    assert world.redeem() is Reason.CODE_INVALID
    assert world.redeem(redirect_uri=None) == GRANTED


def test_a_code_that_an_older_version_remembers_is_not_answered_again(world: World) -> None:
    """Its grant has an id of its own, and it is remembered for as long as the grant lives."""
    kept: dict[str, Any] = {
        "client_id": "app", "redirect_uri": CALLBACK, "challenge": CHALLENGE, "username": "anna", "scope": ["a"],
        "grant_id": "g" * 22, "since": int(NOW), "ends": NOW + 60, "spent": True,
    }  # fmt: skip
    family = Family("app", "anna", (), ("a",), int(NOW), int(NOW) + 1000)
    asyncio.run(world.store.open_family(digest("g" * 22), family, "t0", FamilyAccess("j0", int(NOW) + 600), 1000))
    world.issue()
    (key,) = world.store._values
    asyncio.run(world.store.put(key, json.dumps(kept), 10**6))
    world.now += 61
    assert world.redeem() is Reason.CODE_REPLAYED
    assert world.events == [TokenRevoked("app", "j0")]
