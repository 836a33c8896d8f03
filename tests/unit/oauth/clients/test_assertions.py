"""oauth.clients.assertions, and the client that says who it is and no more: what a request must hold, and what a store does."""

from collections.abc import Iterator

import pytest

from sidecar.core.jose.assertions import ASSERTION_TYPE, AssertionRules
from sidecar.core.jose.client_keys import read_pem
from sidecar.core.oauth.clients import Client, ClientRegistry, Recognised
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.clients.assertions import AssertionAuthenticator
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore
from tests.support.assertions import ec_pair, parameters, sign

PAIR = ec_pair()
HASH = parse_secret_hash(hash_secret("secret", bytes(16), "sha256"))
CLIENTS = ClientRegistry(
    [
        Client("keyed", (), frozenset(), keys=(read_pem(PAIR.public),)),
        Client("both", (HASH,), frozenset(), keys=(read_pem(PAIR.public),)),
        Client("app", (), frozenset(["refresh_token"]), token_endpoint_auth_method="none"),
        Client("old-app", (), frozenset(), token_endpoint_auth_method="none", disabled=True),
        Client("secret", (HASH,), frozenset()),
    ],
    bytes(32),
)


class DownStore(MemoryStore):
    """Cannot be reached."""

    async def add(self, key: str, seconds: int) -> bool:
        raise StoreUnavailable("no connection")


class World:
    """The authenticator, with a clock that is set by hand; `seen` is who was let in."""

    def __init__(self, kind: type[MemoryStore] = MemoryStore) -> None:
        self.now = 1_800_000_000.0
        self.seen: list[Recognised] = []
        store = kind(clock=lambda: self.now, emit=lambda _: None)
        rules = AssertionRules(CLIENTS, issuer="https://i", token_endpoint="https://i/oauth/token")
        self.authenticator = ClientAuthenticator(
            CLIENTS,
            hashes=SlowHashes("secrets"),
            realm="https://i",
            assertions=AssertionAuthenticator(rules, store=store, clock=lambda: self.now),
            on_recognised=self.seen.append,
        )

    def assertion(self, client_id: str = "keyed", jti: str = "j", life: int = 60) -> str:
        claims = {"iss": client_id, "sub": client_id, "aud": "https://i", "exp": int(self.now) + life, "jti": jti}
        return sign(claims, PAIR.private, "ES256")

    async def ask(self, fields: dict[str, str], *headers: str) -> Reason | str:
        request = EndpointRequest("POST", "/", "", tuple(("Authorization", value) for value in headers), b"", "peer")
        try:
            return (await self.authenticator.authenticate(request, fields)).client_id
        except Refused as refused:
            reply = self.authenticator.refuse(refused)
            self.said = (reply.status, reply.headers, reply.body)
            return refused.reason


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.authenticator._hashes.close()


async def test_an_assertion_is_taken_once(world: World) -> None:
    assertion = world.assertion()
    assert await world.ask(parameters(assertion)) == "keyed"
    for _ in range(2):
        assert await world.ask(parameters(assertion)) is Reason.REPLAYED_CLIENT_ASSERTION
    assert await world.ask(parameters(world.assertion(life=90))) is Reason.REPLAYED_CLIENT_ASSERTION, "the id counts"
    assert await world.ask(parameters(world.assertion(jti="k"))) == "keyed"
    assert await world.ask(parameters(world.assertion("both"))) == "both", "each client has ids of its own"


async def test_an_id_is_remembered_for_as_long_as_the_assertion_lives(world: World) -> None:
    assertion = world.assertion(life=3600)
    assert await world.ask(parameters(assertion)) == "keyed"
    world.now += 3599
    assert await world.ask(parameters(assertion)) is Reason.REPLAYED_CLIENT_ASSERTION
    world.now += 1
    assert await world.ask(parameters(assertion)) is Reason.BAD_CLIENT_ASSERTION


async def test_an_assertion_that_is_refused_uses_up_no_id(world: World) -> None:
    good = world.assertion()
    assert await world.ask(parameters(good[:-8] + "AAAAAAAA")) is Reason.BAD_CLIENT_ASSERTION
    assert await world.ask(parameters(good, client_id="both")) is Reason.INVALID_REQUEST
    assert await world.ask(parameters(good, client_id="keyed")) == "keyed"


async def test_nobody_is_let_in_while_the_store_is_down() -> None:
    world = World(DownStore)
    with pytest.raises(StoreUnavailable):
        await world.ask(parameters(world.assertion()))
    assert await world.ask(parameters(world.assertion("nobody"))) is Reason.UNKNOWN_CLIENT, (
        "what needs no store goes on"
    )
    assert world.seen == []
    world.authenticator._hashes.close()


async def test_what_belongs_together(world: World) -> None:
    right = parameters(world.assertion())
    basic = "Basic Ym90aDpzZWNyZXQ="
    for fields, headers, reason in (
        ({"client_assertion": right["client_assertion"]}, (), Reason.INVALID_REQUEST),
        ({"client_assertion_type": ASSERTION_TYPE, "client_id": "keyed"}, (), Reason.INVALID_REQUEST),
        ({**right, "client_assertion_type": ASSERTION_TYPE.upper()}, (), Reason.BAD_CLIENT_ASSERTION),
        ({**right, "client_assertion_type": ASSERTION_TYPE.replace("jwt", "saml2")}, (), Reason.BAD_CLIENT_ASSERTION),
        ({**right, "client_secret": "secret"}, (), Reason.INVALID_REQUEST),
        ({**right, "client_id": "both", "client_secret": "secret"}, (), Reason.INVALID_REQUEST),
        (right, (basic,), Reason.INVALID_REQUEST),
        (right, ("Bearer x",), Reason.INVALID_REQUEST),
    ):
        assert await world.ask(dict(fields), *headers) is reason
    assert await world.ask({}, basic) == "both"
    assert await world.ask({"client_id": "both", "client_secret": "secret"}) == "both"


async def test_without_assertions_none_is_taken() -> None:
    world = World()
    world.authenticator = ClientAuthenticator(CLIENTS, hashes=SlowHashes("secrets"), realm="https://i")
    assert await world.ask(parameters(world.assertion())) is Reason.BAD_CLIENT_ASSERTION
    world.authenticator._hashes.close()


@pytest.mark.parametrize(
    ("client_id", "expected"),
    [
        ("app", "app"),
        ("old-app", Reason.CLIENT_DISABLED),
        ("secret", Reason.WRONG_AUTH_METHOD),
        ("keyed", Reason.WRONG_AUTH_METHOD),
        ("nobody", Reason.UNKNOWN_CLIENT),
        ("", Reason.UNKNOWN_CLIENT),
    ],
)
async def test_only_a_public_client_may_say_who_it_is_and_no_more(
    world: World, client_id: str, expected: Reason | str
) -> None:
    assert await world.ask({"client_id": client_id}) == expected


async def test_a_public_client_has_no_secret_and_no_assertion(world: World) -> None:
    assert await world.ask({"client_id": "app", "client_secret": "x"}) is Reason.BAD_CLIENT_SECRET
    assert await world.ask({}, "Basic YXBwOng=") is Reason.BAD_CLIENT_SECRET
    assert await world.ask({}, "Basic YXBwOg==") is Reason.BAD_CLIENT_SECRET
    assert await world.ask(parameters(world.assertion("app"))) is Reason.WRONG_AUTH_METHOD


async def test_who_probes_client_ids_gets_the_same_bytes(world: World) -> None:
    for ask in (
        lambda name: ({"client_id": name},),
        lambda name: ({"client_id": name, "client_secret": "w"},),
        lambda name: (parameters(world.assertion(name)[:-8] + "AAAAAAAA"),),
    ):
        said = set()
        for name in ("nobody", "secret", "keyed", "both", "old-app"):
            assert isinstance(await world.ask(*ask(name)), Reason)
            said.add(world.said)
        assert len(said) == 1


async def test_whoever_is_let_in_is_told_of_with_the_secret_that_was_used(world: World) -> None:
    await world.ask(parameters(world.assertion()))
    await world.ask({"client_id": "app"})
    await world.ask({"client_id": "secret", "client_secret": "secret"})
    await world.ask({"client_id": "secret", "client_secret": "wrong"})
    assert [(each.client.client_id, each.secret) for each in world.seen] == [
        ("keyed", None),
        ("app", None),
        ("secret", 1),
    ]
