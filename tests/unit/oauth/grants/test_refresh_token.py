"""oauth.grants.refresh_token: the grant type `refresh_token` at the token endpoint, over the memory store."""

import asyncio
import base64
import itertools
import json
import math
from typing import Any
from urllib.parse import urlencode

import pytest

from sidecar.core.digests import digest
from sidecar.core.events import Event, TokenIssued, TokenRevoked
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.grants import Granted
from sidecar.core.oauth.refresh_tokens import MOST_UNUSED, Rotated, Rotation, family_key
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.oauth.users import User
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.tokens import TokenRules
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.endpoints.token import TokenEndpoint, client_credentials
from sidecar.oauth.grants.refresh_token import RefreshTimes, RefreshTokens
from sidecar.oauth.parameters import Parameters
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore

NOW = 1_800_000_000.5
BOTH = frozenset(["client_credentials", "refresh_token", "authorization_code"])
SCOPE = ("orders:read", "orders:write")


def client(client_id: str, **fields: Any) -> Client:
    hashed = parse_secret_hash(hash_secret("secret", bytes(16), "sha256"))
    return Client(**{"client_id": client_id, "secrets": (hashed,), "grant_types": BOTH, "scope": SCOPE, **fields})


CLIENTS = {
    each.client_id: each
    for each in (
        client("app", roles=("analyst",)),
        client("other"),
        client("plain", grant_types=BOTH - {"refresh_token"}),
        client("narrowed"),
    )
}
RULES = TokenRules(
    issuer="https://issuer",
    audience="api",
    access_token_ttl=600,
    leeway=0,
    ring=KeyRing([SigningKey.hmac("1", "HS256", "k" * 32)]),
)


class StoreDown(MemoryStore):
    """Takes no write."""

    async def open_family(self, *_: Any) -> bool:
        raise StoreUnavailable("no connection")

    async def rotate(self, key: str, asked: Rotation) -> Rotated:
        raise StoreUnavailable("no connection")


class Answered(dict[str, Any]):
    """The members of an answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(json.loads(reply.body))
        self.status = reply.status
        self.reason = reply.reason


class Served:
    """The token endpoint; time stands still unless `now` is set."""

    def __init__(self, store: type[MemoryStore] = MemoryStore, *, repeats: bool = True) -> None:
        self.repeats = repeats
        self.events: list[Event] = []
        self.now = NOW
        self.keys = [b"1" * 32]
        self.granted = Granted("alice", ("boss",), SCOPE)
        self.users = {"alice": User("alice", "", ("boss",))}
        self.clients = dict(CLIENTS)
        self.view = RevocationView(math.inf)
        self.store = store(clock=lambda: self.now, emit=lambda _: None)
        self.store._view = self.view
        ids = (base64.urlsafe_b64encode(number.to_bytes(16, "big"))[:22].decode() for number in itertools.count())
        self.refresh = RefreshTokens(
            store=self.store,
            rules=RULES,
            times=RefreshTimes(1000, 300, repeats=self.repeats),
            find_user=self.users.get,
            keys=lambda: self.keys,
            emit=self.events.append,
            clock=lambda: self.now,
            new_id=lambda: next(ids),
        )
        self.ids = ids

    async def code(self, client: Client, parameters: Parameters) -> Granted:
        """In the place of a grant that a person gave."""
        return self.granted

    def post(self, client_id: str = "app", **fields: str) -> Answered:
        endpoint = TokenEndpoint(
            authenticator=ClientAuthenticator(ClientRegistry(self.clients.values(), bytes(32)), hashes=SlowHashes("secrets"), realm="r"),
            grants={"client_credentials": client_credentials, "refresh_token": self.refresh, "authorization_code": self.code},
            refresh=self.refresh,
            rules=RULES,
            view=self.view,
            emit=self.events.append,
            clock=lambda: self.now,
            new_id=lambda: next(self.ids),
        )  # fmt: skip
        body = urlencode({"client_id": client_id, "client_secret": "secret", **fields}).encode()
        kind = (("Content-Type", "application/x-www-form-urlencoded"),)
        return Answered(asyncio.run(endpoint(EndpointRequest("POST", "/oauth/token", "", kind, body, "peer"))))

    def begin(self, client_id: str = "app", **fields: str) -> str:
        """The first refresh token."""
        return str(self.post(client_id, grant_type="authorization_code", **fields)["refresh_token"])

    def again(self, token: str, client_id: str = "app", **fields: str) -> Answered:
        return self.post(client_id, grant_type="refresh_token", refresh_token=token, **fields)

    @property
    def revoked(self) -> set[str]:
        return set(self.view.live(0))


@pytest.fixture
def served() -> Served:
    return Served()


def jti(answer: Answered) -> str:
    return RULES.read_signed(answer["access_token"]).jti


def test_a_refresh_token_goes_with_each_grant_of_a_client_that_names_it(served: Served) -> None:
    for grant in ("client_credentials", "authorization_code"):
        assert family_key(served.post(grant_type=grant)["refresh_token"])
        assert "refresh_token" not in served.post("plain", grant_type=grant)
    served.granted = served.granted._replace(refreshable=False)
    assert "refresh_token" not in served.post(grant_type="authorization_code")


def test_a_refresh_gives_an_access_token_and_the_next_refresh_token(served: Served) -> None:
    first = served.begin()
    answer = served.again(first)
    assert answer.status == 200
    access = RULES.verify(answer["access_token"], NOW)
    assert (access.sub, access.client_id, access.roles, access.scope) == ("alice", "app", ("boss",), SCOPE)
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert answer["refresh_token"] != first
    assert family_key(answer["refresh_token"]) == family_key(first)
    assert served.events[-1] == TokenIssued("refresh_token", "app", access.jti, "alice")
    assert served.again(answer["refresh_token"]).status == 200


def test_a_clients_own_token_has_the_roles_that_it_has_now(served: Served) -> None:
    token = served.post(grant_type="client_credentials")["refresh_token"]
    served.clients["app"] = client("app", roles=("reader",))
    assert RULES.read_signed(served.again(token)["access_token"]).roles == ("reader",)


def test_scope_narrows_for_one_access_token_only(served: Served) -> None:
    """RFC 6749 section 6: the refresh token's own scope stays."""
    narrow = served.again(served.begin(), scope="orders:write")
    assert narrow["scope"] == "orders:write"
    assert served.again(narrow["refresh_token"])["scope"] == "orders:read orders:write"


def test_scope_never_widens(served: Served) -> None:
    served.granted = served.granted._replace(scope=("orders:read",))
    token = served.begin()
    for scope in ("orders:write", "orders:read orders:write", "x", " "):
        answer = served.again(token, scope=scope)
        assert (answer.status, answer["error"]) == (400, "invalid_scope")
    assert served.again(token)["scope"] == "orders:read", "and the token was not used up"


def test_a_scope_that_the_client_lost_is_lost(served: Served) -> None:
    token = served.begin("narrowed")
    served.clients["narrowed"] = client("narrowed", scope=("orders:read",))
    assert served.again(token, "narrowed", scope="orders:write")["error"] == "invalid_scope"
    assert served.again(token, "narrowed")["scope"] == "orders:read"


def test_a_lost_answer_is_given_again_however_late_and_however_often(served: Served) -> None:
    token = served.begin()
    lost = served.again(token)
    for _ in range(4):
        served.now += 70
        again = served.again(token)
        assert again["refresh_token"] == lost["refresh_token"]
        assert jti(again) != jti(lost)
    assert served.again(lost["refresh_token"]).status == 200
    assert served.revoked == set()


def test_a_lost_answer_is_given_again_after_the_keys_were_rotated(served: Served) -> None:
    token = served.begin()
    lost = served.again(token)
    served.keys.insert(0, b"2" * 32)
    assert served.again(token)["refresh_token"] == lost["refresh_token"]
    assert served.again(lost["refresh_token"]).status == 200


@pytest.mark.parametrize("repeats", [True, False])
def test_a_replay_ends_everything(repeats: bool) -> None:
    """It is one when what came of the token was used; in any case where no token may repeat what it gave."""
    served = Served(repeats=repeats)
    given = [served.post(grant_type="authorization_code")]
    for _ in range(1 + repeats):
        given.append(served.again(given[-1]["refresh_token"]))
    answer = served.again(given[0]["refresh_token"])
    assert (answer.status, answer["error"], answer.reason) == (400, "invalid_grant", Reason.REFRESH_REUSED)
    assert served.revoked == {jti(each) for each in given}
    assert [event for event in served.events if isinstance(event, TokenRevoked)] == [
        TokenRevoked("app", jti(each)) for each in given
    ]
    answer = served.again(given[-1]["refresh_token"])
    assert (answer.status, answer.reason) == (400, Reason.REFRESH_REVOKED)


def test_another_client_gets_nothing_and_ends_nothing(served: Served) -> None:
    token = served.begin()
    answer = served.again(token, "other")
    assert (answer.status, answer["error"], answer.reason) == (400, "invalid_grant", Reason.FOREIGN_TOKEN)
    assert served.again(token).status == 200


def test_a_client_without_the_grant_or_disabled_is_refused(served: Served) -> None:
    token = served.begin()
    served.clients["app"] = client("app", grant_types=frozenset(["authorization_code"]))
    assert served.again(token)["error"] == "unauthorized_client"
    served.clients["app"] = client("app", disabled=True)
    assert served.again(token)["error"] == "invalid_client"
    served.clients["app"] = client("app")
    assert served.again(token).status == 200


def test_a_token_ends_when_idle_and_at_its_end(served: Served) -> None:
    token = served.begin()
    for _ in range(4):
        served.now += 240
        token = served.again(token)["refresh_token"]
    served.now = NOW + 1000
    answer = served.again(token)
    assert (answer.status, answer.reason) == (400, Reason.REFRESH_EXPIRED)
    idle = served.begin()
    served.now += 300
    assert served.again(idle).reason is Reason.REFRESH_EXPIRED


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", Reason.INVALID_REQUEST),
        ("x", Reason.REFRESH_MALFORMED),
        ("a.b.c", Reason.REFRESH_MALFORMED),
        ("A" * 22 + "." + "A" * 43, Reason.REFRESH_EXPIRED),
    ],
)
def test_what_is_no_refresh_token_of_ours(served: Served, token: str, reason: Reason) -> None:
    answer = served.again(token)
    assert (answer.status, answer.reason) == (400, reason)


def test_an_access_token_is_no_refresh_token(served: Served) -> None:
    access = served.post(grant_type="authorization_code")["access_token"]
    assert served.again(access).reason is Reason.REFRESH_MALFORMED


def test_without_the_store_it_is_503_and_nothing_is_issued() -> None:
    served = Served(StoreDown)
    for answer in (served.again("A" * 22 + "." + "A" * 43), served.post(grant_type="client_credentials")):
        assert (answer.status, answer["error"]) == (503, "temporarily_unavailable")
    assert served.events == []
    assert served.post("plain", grant_type="client_credentials").status == 200


GRANT_ID = "A" * 22


def test_a_grant_with_a_seed_gives_the_same_answer_until_its_refresh_token_is_used(served: Served) -> None:
    served.granted = served.granted._replace(grant_id=GRANT_ID, seed="code x")
    first, second = (served.post(grant_type="authorization_code") for _ in range(2))
    assert first["refresh_token"] == second["refresh_token"]
    assert jti(first) != jti(second)
    served.keys.insert(0, b"2" * 32)
    assert served.post(grant_type="authorization_code")["refresh_token"] == first["refresh_token"], "by another process"
    used = served.again(first["refresh_token"])
    late = served.post(grant_type="authorization_code")
    assert (late.status, late["error"], late.reason) == (400, "invalid_grant", Reason.CODE_REPLAYED)
    assert {jti(first), jti(second), jti(used)} < served.revoked
    assert served.again(used["refresh_token"]).reason is Reason.REFRESH_REVOKED


def test_a_client_that_never_uses_its_refresh_tokens_keeps_some(served: Served) -> None:
    """The newest that were not used, and all that were; the store stays small."""
    used = served.post(grant_type="client_credentials")
    followed = served.again(used["refresh_token"])
    given = [served.post(grant_type="client_credentials") for _ in range(MOST_UNUSED + 1)]
    assert len(served.store._families) == MOST_UNUSED + 1
    assert served.again(given[0]["refresh_token"]).reason is Reason.REFRESH_EXPIRED
    assert served.again(given[1]["refresh_token"]).status == 200
    assert served.again(followed["refresh_token"]).status == 200
    assert served.revoked == set(), "access tokens live on"


@pytest.mark.parametrize("name", ["app", "plain"])
def test_a_grant_that_is_named_can_be_ended_with_all_that_came_of_it(served: Served, name: str) -> None:
    """Also when it gave no refresh token."""
    served.granted = served.granted._replace(grant_id=GRANT_ID)
    answer = served.post(name, grant_type="authorization_code")
    assert asyncio.run(served.store.end_family(digest(GRANT_ID))).revoked == (jti(answer),)
    assert served.revoked == {jti(answer)}


def test_a_grant_that_was_ended_first_gives_nothing(served: Served) -> None:
    served.granted = served.granted._replace(grant_id=GRANT_ID)
    asyncio.run(served.store.end_family(digest(GRANT_ID), forbid=60))
    answer = served.post(grant_type="authorization_code")
    assert (answer.status, answer["error"], answer.reason) == (400, "invalid_grant", Reason.GRANT_REVOKED)


@pytest.mark.parametrize("name", ["app", "plain"])
def test_what_was_granted_before_a_not_before_time_gives_nothing_after_it(served: Served, name: str) -> None:
    served.granted = served.granted._replace(since=int(NOW) - 30)
    served.view.add([(NotBefore("subject", "alice", int(NOW) - 10).entry, 2**40)])
    answer = served.post(name, grant_type="authorization_code")
    assert (answer.status, answer.reason) == (400, Reason.GRANT_REVOKED)


def test_a_not_before_time_ends_families_and_what_is_granted_after_it_lives(served: Served) -> None:
    old = served.begin()
    served.view.add([(NotBefore("client", "app", int(NOW)).entry, 2**40)])
    assert served.again(old).reason is Reason.REFRESH_REVOKED
    answer = served.post(grant_type="client_credentials")
    assert answer.status == 200
    access = RULES.verify(answer["access_token"], NOW)
    assert access.iat == int(NOW) + 1
    assert not served.view.issued_too_early("app", "app", access.iat)
    assert served.again(answer["refresh_token"]).status == 200


def test_what_a_user_granted_follows_the_user() -> None:
    """Roles and scope are as they are now; a user who is gone or disabled has ended it, with its access tokens."""
    served = Served()
    first = served.post(grant_type="authorization_code")
    served.users["alice"] = User("alice", "", ("clerk",), SCOPE[:1])
    second = served.post(grant_type="refresh_token", refresh_token=first["refresh_token"])
    token = RULES.read_signed(second["access_token"])
    assert (token.roles, token.scope) == (("clerk",), SCOPE[:1])
    del served.users["alice"]
    third = served.post(grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert (third.status, third["error"], third.reason) == (400, "invalid_grant", Reason.GRANT_REVOKED)
    assert token.jti in served.view
    served.users["alice"] = User("alice", "", ("boss",))
    fourth = served.post(grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert fourth.status == 400
