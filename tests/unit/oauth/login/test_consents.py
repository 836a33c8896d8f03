"""oauth.login.consents: what a user has agreed to and asked us to remember."""

import asyncio
from typing import Any

import pytest

from sidecar.core.oauth.clients import Client
from sidecar.oauth.login.consents import Consents, may_be_remembered
from sidecar.stores.memory import MemoryStore

HTTPS, LOOPBACK, SCHEME = "https://app.example/cb", "http://127.0.0.1/cb", "com.example:/cb"


def client(client_id: str = "app", *, public: bool = False) -> Client:
    return Client(
        client_id, (), frozenset(["authorization_code"]), ("a", "b", "c"), (), False, redirect_uris=(HTTPS,),
        token_endpoint_auth_method="none" if public else None,
    )  # fmt: skip


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.over: set[tuple[str, str]] = set()
        store = MemoryStore(clock=lambda: self.now, emit=lambda _: None)
        ended = lambda username, client_id, since: (username, client_id) in self.over and since <= 100  # noqa: E731
        self.consents = Consents(store, ttl=60, clock=lambda: self.now, ended=ended)

    def covers(self, *scope: str, user: str = "anna", of: Client | None = None, uri: str = HTTPS) -> bool:
        return asyncio.run(self.consents.covers(user, of or client(), uri, scope))

    def remember(self, *scope: str, user: str = "anna", of: Client | None = None, uri: str = HTTPS) -> None:
        asyncio.run(self.consents.remember(user, of or client(), uri, scope))


def test_nothing_is_agreed_to_before_it_is() -> None:
    world = World()
    assert not world.covers("a")
    assert not world.covers()


def test_what_was_agreed_to_adds_up() -> None:
    world = World()
    world.remember("a")
    assert (world.covers("a"), world.covers("a", "b"), world.covers()) == (True, False, True)
    world.remember("b")
    assert world.covers("a", "b")
    assert not world.covers("a", "b", "c")


@pytest.mark.parametrize("other", [{"user": "bob"}, {"of": client("app2")}])
def test_it_holds_for_one_user_and_one_client(other: dict[str, Any]) -> None:
    world = World()
    world.remember("a")
    assert not world.covers("a", **other)


def test_names_that_run_together_are_kept_apart() -> None:
    world = World()
    world.remember("a", user="ann", of=client("aapp"))
    assert not world.covers("a", user="anna", of=client("app"))


def test_it_ends_by_itself_and_by_a_revocation() -> None:
    world = World()
    world.remember("a")
    world.now += 61
    assert not world.covers("a")
    world.now = 100.0
    world.remember("a")
    world.over.add(("anna", "app"))
    assert not world.covers("a")
    world.now = 101.0
    world.remember("a")  # agreed to anew, after the revocation
    assert world.covers("a")


@pytest.mark.parametrize(
    ("of", "uri", "remembered"),
    [(client(), HTTPS, True), (client(public=True), HTTPS, True), (client(public=True), LOOPBACK, False), (client(public=True), SCHEME, False)],
)  # fmt: skip
def test_an_app_that_anybody_can_pretend_to_be_is_asked_about_each_time(of: Client, uri: str, remembered: bool) -> None:
    """RFC 8252 section 8.6."""
    world = World()
    assert may_be_remembered(of, uri) is remembered
    world.remember("a", of=of, uri=uri)
    assert world.covers("a", of=of, uri=uri) is remembered
