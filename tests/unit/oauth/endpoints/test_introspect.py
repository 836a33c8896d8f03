"""oauth.endpoints.introspect: `POST /oauth/introspect` (RFC 7662), and the revocation of refresh tokens beside it."""

import asyncio
import base64
import json
import math
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.admission import AdmissionRules
from sidecar.core.digests import digest
from sidecar.core.events import Event, TokenRevoked
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.refresh_tokens import Family, FamilyAccess, FamilyState, Rotation, family_key, new_token
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.tokens import TokenRules
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.endpoints.introspect import IntrospectEndpoint
from sidecar.oauth.endpoints.revoke import RevokeEndpoint
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore

NOW = 1_800_000_000
LATER = NOW + 600
KEY = SigningKey.hmac("1", "HS256", "k" * 32)
GRANT_ID = base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")
REFRESH, OLD = new_token(GRANT_ID, bytes(32)), new_token(GRANT_ID, b"\1" * 32)
FAMILY_KEY = digest(GRANT_ID)


def rules(*keys: SigningKey, **changes: Any) -> TokenRules:
    said = {"issuer": "https://issuer", "audience": "api", "access_token_ttl": 600, "leeway": 0, **changes}
    return TokenRules(ring=KeyRing(keys or [KEY]), **said)


RULES = rules()


def client(client_id: str, **fields: Any) -> Client:
    hashed = parse_secret_hash(hash_secret("secret", bytes(16), "sha256"))
    return Client(client_id, (hashed,), frozenset(["refresh_token"]), **fields)


class StoreDown(MemoryStore):
    """Gives no answer."""

    async def read_family(self, key: str) -> FamilyState | None:
        raise StoreUnavailable("no connection")


class Served:
    """Both endpoints over a memory store with one family, whose access token is `j`."""

    def __init__(self, store: type[MemoryStore] = MemoryStore) -> None:
        self.events: list[Event] = []
        self.now: float = NOW
        self.view = RevocationView(5)
        self.view.confirm(math.inf)
        self.store = store(clock=lambda: self.now, emit=lambda _: None)
        self.store._view = self.view
        self.clients = {
            each.client_id: each for each in (client("api", introspect=True), client("app"), client("other"))
        }
        family = Family("app", "alice", ("boss",), ("a", "b"), NOW - 100, NOW + 5000)
        asyncio.run(self.store.open_family(FAMILY_KEY, family, digest(OLD), FamilyAccess("j", LATER), 3000))
        asyncio.run(
            self.store.rotate(
                FAMILY_KEY, Rotation("app", digest(OLD), digest(REFRESH), (), FamilyAccess("k", LATER), True, 3000)
            )
        )

    def post(self, path: str, body: dict[str, str] | bytes, who: str = "api", method: str = "POST") -> Reply:
        disabled = {each.client_id for each in self.clients.values() if each.disabled}
        admission = AdmissionRules(0.0, {key.kid for key in RULES.ring}, disabled)
        registry = ClientRegistry(self.clients.values(), bytes(32))
        authenticator = ClientAuthenticator(registry, hashes=SlowHashes("secrets"), realm="r")
        endpoint = {
            "introspect": IntrospectEndpoint(
                authenticator=authenticator, clients=registry, rules=RULES, admission=admission, store=self.store, view=self.view,
                clock=lambda: self.now, monotonic=lambda: 0.0,
            ),
            "revoke": RevokeEndpoint(
                authenticator=authenticator, rules=RULES, store=self.store, keys=lambda: [bytes(32)], emit=self.events.append,
                clock=lambda: self.now,
            ),
        }[path]  # fmt: skip
        basic = base64.b64encode(f"{who}:secret".encode()).decode()
        fields = (("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", f"Basic {basic}"))
        sent = body if isinstance(body, bytes) else urlencode(body).encode()
        return asyncio.run(endpoint(EndpointRequest(method, f"/oauth/{path}", "", fields, sent, "peer")))

    def ask(self, token: str, **fields: str) -> dict[str, Any]:
        reply = self.post("introspect", {"token": token, **fields})
        assert reply.status == 200
        assert ("Cache-Control", "no-store") in reply.headers
        return dict(json.loads(reply.body))


@pytest.fixture
def served() -> Served:
    return Served()


def access(jti: str = "j", by: TokenRules = RULES, now: int = NOW, client_id: str = "app") -> str:
    return by.issue(client_id=client_id, subject="alice", roles=("boss",), scope=("a", "b"), now=now, jti=jti)[0]


@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "refresh_token"}, {"token_type_hint": "x"}])
def test_an_access_token_that_is_good(served: Served, hint: dict[str, str]) -> None:
    assert served.ask(access(), **hint) == {
        "active": True, "scope": "a b", "client_id": "app", "token_type": "Bearer", "token_use": "access_token",
        "exp": NOW + 600, "iat": NOW, "sub": "alice", "aud": "api", "iss": "https://issuer", "jti": "j", "roles": ["boss"],
    }  # fmt: skip


@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "x"}])
def test_a_refresh_token_that_is_good(served: Served, hint: dict[str, str]) -> None:
    assert served.ask(REFRESH, **hint) == {
        "active": True, "scope": "a b", "client_id": "app", "token_use": "refresh_token", "exp": NOW + 3000,
        "iat": NOW - 100, "sub": "alice", "iss": "https://issuer",
    }  # fmt: skip


INACTIVE = {
    "words": "canary",
    "a dot": ".",
    "a cut one": access()[:-1],
    "a padded one": access() + "=",
    "another key's": access(by=rules(SigningKey.hmac("1", "HS256", "x" * 32))),
    "another issuer's": access(by=rules(issuer="https://other")),
    "another API's": access(by=rules(audience="other")),
    "an expired one": access(now=NOW - 600),
    "one of the future": access(now=NOW + 60),
    "a used refresh token": OLD,
    "a refresh token that never was": new_token(GRANT_ID, b"\2" * 32),
    "a refresh token of no family": new_token("B" * 21 + "A", bytes(32)),
    "a long one": "a" * 50_000,
}


@pytest.mark.parametrize("case", INACTIVE)
def test_anything_else_is_inactive_and_nothing_more(served: Served, case: str) -> None:
    assert served.ask(INACTIVE[case]) == {"active": False}


def test_what_was_revoked_is_inactive(served: Served) -> None:
    asyncio.run(served.store.revoke("other", LATER))
    assert served.ask(access("other")) == {"active": False}
    asyncio.run(served.store.end_family(FAMILY_KEY))
    assert [served.ask(token) for token in (access("j"), access("k"), REFRESH)] == [{"active": False}] * 3


def test_what_was_issued_too_early_is_inactive(served: Served) -> None:
    asyncio.run(served.store.set_not_before(NotBefore("client", "app", NOW - 1), LATER))
    assert served.ask(REFRESH) == {"active": False}
    assert served.ask(access())["active"]
    asyncio.run(served.store.set_not_before(NotBefore("subject", "alice", NOW), LATER))
    assert served.ask(access()) == {"active": False}


def test_the_tokens_of_a_disabled_client_are_inactive(served: Served) -> None:
    served.clients["app"] = client("app", disabled=True)
    assert [served.ask(token) for token in (access(), REFRESH)] == [{"active": False}] * 2


def test_a_refresh_token_that_nobody_can_use_is_inactive(served: Served) -> None:
    served.clients["app"] = client("app")._replace(grant_types=frozenset())
    assert served.ask(REFRESH) == {"active": False}
    del served.clients["app"]
    assert served.ask(REFRESH) == {"active": False}


def test_a_refresh_token_ends_when_idle(served: Served) -> None:
    served.now = NOW + 3000
    assert served.ask(REFRESH) == {"active": False}


def test_only_who_may_ask_is_answered(served: Served) -> None:
    for token in (access(client_id="other"), REFRESH, "x"):
        reply = served.post("introspect", {"token": token}, who="other")
        assert (reply.status, json.loads(reply.body)["error"]) == (403, "unauthorized_client")
        assert reply.reason is Reason.MAY_NOT_INTROSPECT
    assert served.post("introspect", {"token": access()}, who="nobody").status == 401
    assert served.post("introspect", {}).status == 400
    assert served.post("introspect", {"token": access()}, method="GET").status == 405
    assert served.post("introspect", b"token=a&token=b").status == 400


def test_it_is_503_when_nobody_knows_what_was_revoked() -> None:
    served = Served()
    served.view._confirmed = -math.inf
    for token in (access(), REFRESH, "x"):
        assert served.post("introspect", {"token": token}).status == 503
    served = Served(StoreDown)
    assert served.post("introspect", {"token": REFRESH}).status == 503
    assert served.ask(access())["active"], "which is known here"


@pytest.mark.parametrize("token", [REFRESH, OLD], ids=["current", "used"])
def test_revoking_a_refresh_token_ends_all_that_came_of_its_grant(served: Served, token: str) -> None:
    """RFC 7009 section 2.1."""
    for _ in range(2):
        assert served.post("revoke", {"token": token, "token_type_hint": "access_token"}, who="app").status == 200
    assert set(served.view.live(NOW)) == {"j", "k"}
    assert served.events == [TokenRevoked("app", "j"), TokenRevoked("app", "k")]
    assert served.ask(REFRESH) == {"active": False}


def test_revoking_an_access_token_leaves_its_family(served: Served) -> None:
    assert served.post("revoke", {"token": access("k")}, who="app").status == 200
    assert set(served.view.live(NOW)) == {"k"}
    assert served.ask(REFRESH)["active"]


def test_another_clients_refresh_token_stays(served: Served) -> None:
    reply = served.post("revoke", {"token": REFRESH}, who="other")
    assert (reply.status, reply.reason) == (400, Reason.FOREIGN_TOKEN)
    assert served.ask(REFRESH)["active"]


def test_a_refresh_token_that_nobody_knows_is_revoked_already(served: Served) -> None:
    assert served.post("revoke", {"token": INACTIVE["a refresh token of no family"]}, who="app").status == 200
    assert served.events == []


SHARED = Served()


@given(
    st.one_of(
        st.text(max_size=80),
        st.sampled_from([access(), REFRESH, OLD]).flatmap(
            lambda t: st.sampled_from([t[1:], t[:-1], t + "A", t.swapcase(), t.replace(".", "")])
        ),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_token_of_somebody_elses_making_is_active(token: str) -> None:
    reply = SHARED.post("introspect", urlencode({"token": token}, errors="surrogatepass").encode())
    assert reply.status == 400 or json.loads(reply.body) == {"active": False}
    assert family_key(token) is None or token.isascii()
