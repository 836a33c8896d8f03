"""oauth.endpoints.revoke: `POST /oauth/revoke` (RFC 7009), called as the data path calls it."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.events import Event, TokenRevoked
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.secrets import hash_secret, parse_secret_hash
from sidecar.core.past import MOST_AHEAD
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.tokens import REVOCATION_MARGIN, TokenRules
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.endpoints.revoke import RevokeEndpoint
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore

NOW, TTL = 1_800_000_000, 600
GONE = TTL + REVOCATION_MARGIN + MOST_AHEAD
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
CLIENT = {"client_id": "c", "client_secret": "secret"}


def client(client_id: str, *, disabled: bool = False) -> Client:
    hashed = parse_secret_hash(hash_secret("secret", bytes(16), "sha256"))
    return Client(client_id, (hashed,), frozenset(), disabled=disabled)


CLIENTS = {name: client(name) for name in ("c", "other")} | {"off": client("off", disabled=True)}
KEY, RETIRED = SigningKey.hmac("2", "HS256", "k" * 32), SigningKey.hmac("1", "HS256", "o" * 32)


def rules(*keys: SigningKey, **changes: Any) -> TokenRules:
    said = {"issuer": "https://issuer", "audience": "api", "access_token_ttl": TTL, "leeway": 0, **changes}
    return TokenRules(ring=KeyRing(keys), **said)


RULES = rules(KEY, RETIRED)


class StoreDown(MemoryStore):
    """Takes no write."""

    async def revoke(self, jti: str, exp: int) -> None:
        raise StoreUnavailable("no connection")


class Served:
    """The endpoint over a memory store; `events` is what it said, `now` what its clock says."""

    def __init__(self, store: type[MemoryStore] = MemoryStore) -> None:
        self.events: list[Event] = []
        self.now: float = NOW
        self.store = store(clock=lambda: self.now, emit=self.events.append)
        self.endpoint = RevokeEndpoint(
            authenticator=ClientAuthenticator(
                ClientRegistry(CLIENTS.values(), bytes(32)), hashes=SlowHashes("secrets"), realm="https://issuer"
            ),
            rules=RULES,
            store=self.store,
            keys=lambda: [bytes(32)],
            emit=self.events.append,
            clock=lambda: self.now,
        )

    def post(
        self,
        body: Mapping[str, object] | bytes,
        *headers: tuple[str, str],
        kind: str = FORM,
        query: str = "",
        method: str = "POST",
    ) -> Reply:
        if not isinstance(body, bytes):
            body = (json.dumps(body) if kind == JSON else urlencode(body)).encode()
        fields = (("Content-Type", kind), *headers)
        return asyncio.run(self.endpoint(EndpointRequest(method, "/oauth/revoke", query, fields, body, "peer")))

    @property
    def revoked(self) -> dict[str, int]:
        """What the store holds, by `jti`."""
        return self.store._view.live(0)


@pytest.fixture
def served() -> Served:
    return Served()


def token(client_id: str = "c", issued: float = NOW, jti: str = "j", by: TokenRules = RULES) -> str:
    return by.issue(client_id=client_id, subject=client_id, roles=(), scope=(), now=issued, jti=jti)[0]


def basic(client_id: str, secret: str = "secret") -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def check_error(reply: Reply) -> tuple[int, str]:
    body = json.loads(reply.body)
    assert body.keys() == {"error", "error_description", "reason", "code"}
    assert body["code"] == reply.status
    assert {("Content-Type", JSON), ("Cache-Control", "no-store")} <= set(reply.headers)
    assert ("WWW-Authenticate" in dict(reply.headers)) is (reply.status == 401)
    return reply.status, body["error"]


DONE = Reply(200, (("Cache-Control", "no-store"),), b"", None, "c")
OWN: dict[str, Any] = {
    "a form": ({"token": token(), **CLIENT}, FORM, ()),
    "JSON": ({"token": token(), **CLIENT}, JSON, ()),
    "Basic": ({"token": token()}, FORM, (basic("c"),)),
    "JSON and Basic": ({"token": token()}, JSON, (basic("c"),)),
    "the hint": ({"token": token(), "token_type_hint": "access_token", **CLIENT}, FORM, ()),
    "another hint": ({"token": token(), "token_type_hint": "refresh_token", **CLIENT}, FORM, ()),
    "an unknown hint": ({"token": token(), "token_type_hint": "x", **CLIENT}, FORM, ()),
    "a retired key's": ({"token": token(by=rules(RETIRED)), **CLIENT}, FORM, ()),
}


@pytest.mark.parametrize("case", OWN)
def test_a_client_revokes_its_own_token(served: Served, case: str) -> None:
    """It is remembered for longer than any replica accepts it."""
    body, kind, headers = OWN[case]
    assert served.post(body, *headers, kind=kind) == DONE
    assert served.revoked == {"j": NOW + TTL + REVOCATION_MARGIN}
    assert served.events == [TokenRevoked("c", "j")]


def test_revoking_twice_is_no_error(served: Served) -> None:
    assert [served.post({"token": token(), **CLIENT}) for _ in range(2)] == [DONE, DONE]
    assert served.revoked == {"j": NOW + TTL + REVOCATION_MARGIN}


def test_one_token_is_revoked_and_no_other(served: Served) -> None:
    served.post({"token": token(jti="one"), **CLIENT})
    assert served.revoked.keys() == {"one"}


@pytest.mark.parametrize("late", [TTL, TTL + REVOCATION_MARGIN + 3600, GONE - 0.001])
def test_a_token_that_another_clock_may_still_accept_is_revoked(served: Served, late: float) -> None:
    served.now = NOW + late
    assert served.post({"token": token(), **CLIENT}) == DONE
    assert served.revoked.keys() == {"j"}


@pytest.mark.parametrize("late", [GONE, GONE + 1, 10**9])
def test_a_token_that_nobody_accepts_any_more_is_not_kept(served: Served, late: float) -> None:
    served.now = NOW + late
    assert served.post({"token": token(), **CLIENT}) == DONE
    assert (served.revoked, served.events) == ({}, [])


def test_a_token_from_the_future_is_revoked(served: Served) -> None:
    """Another replica's clock may already accept it."""
    assert served.post({"token": token(issued=NOW + 3600), **CLIENT}) == DONE
    assert served.revoked.keys() == {"j"}


STRANGE = {
    "words": "canary",
    "a dot": ".",
    "two dots": "..",
    "a half": token()[:-1],
    "a padded one": token() + "=",
    "no signature": token().rpartition(".")[0] + ".",
    "alg none": "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiMiJ9." + token().split(".")[1] + ".",
    "an unknown key's": token(by=rules(SigningKey.hmac("3", "HS256", "k" * 32))),
    "another secret's": token(by=rules(SigningKey.hmac("2", "HS256", "x" * 32))),
    "another issuer's": token(by=rules(KEY, issuer="https://other")),
    "another API's": token(by=rules(KEY, audience="other")),
    "a Unicode one": "ä€😀",
    "a long one": "a" * 100_000,
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_no_one_accepts_anyway_is_200_and_is_not_kept(served: Served, case: str) -> None:
    """RFC 7009 section 2.2: an invalid token is no error, for there is nothing to do about it."""
    assert served.post({"token": STRANGE[case], **CLIENT}) == DONE
    assert (served.revoked, served.events) == ({}, [])


@pytest.mark.parametrize("issued", [NOW, NOW - 10**6])
def test_another_clients_token_stays_valid(served: Served, issued: int) -> None:
    """RFC 7009 section 2.1."""
    reply = served.post({"token": token("other", issued), **CLIENT})
    assert check_error(reply) == (400, "invalid_grant")
    assert (reply.reason, reply.client_id) == (Reason.FOREIGN_TOKEN, "c")
    assert (served.revoked, served.events) == ({}, [])


R = Reason
REFUSED: dict[str, tuple[dict[str, Any] | bytes, str, tuple[tuple[str, str], ...], Reason]] = {
    "no token": (CLIENT, FORM, (), R.INVALID_REQUEST),
    "an empty token": ({"token": "", **CLIENT}, FORM, (), R.INVALID_REQUEST),
    "null": ({"token": None, **CLIENT}, JSON, (), R.INVALID_REQUEST),
    "a number": ({"token": 5, **CLIENT}, JSON, (), R.INVALID_REQUEST),
    "a list": ({"token": [token()], **CLIENT}, JSON, (), R.INVALID_REQUEST),
    "the token twice": (urlencode([("token", token()), ("token", token()), *CLIENT.items()]).encode(), FORM, (), R.INVALID_REQUEST),
    "a member twice": (b'{"token": "x", "token": "x"}', JSON, (basic("c"),), R.INVALID_REQUEST),
    "another media type": ({"token": token(), **CLIENT}, "text/plain", (), R.INVALID_REQUEST),
    "two ways": ({"token": token(), **CLIENT}, FORM, (basic("c"),), R.INVALID_REQUEST),
    "a line feed": ({"token": token() + "\n", **CLIENT}, FORM, (), R.INVALID_REQUEST),
    "nobody": ({"token": token()}, FORM, (), R.UNKNOWN_CLIENT),
    "the token as its own proof": ({"token": token()}, FORM, (("Authorization", "Bearer " + token()),), R.UNKNOWN_CLIENT),
    "an unknown client": ({"token": token(), **CLIENT, "client_id": "x"}, FORM, (), R.UNKNOWN_CLIENT),
    "a wrong secret": ({"token": token(), **CLIENT, "client_secret": "x"}, FORM, (), R.BAD_CLIENT_SECRET),
    "a disabled client": ({"token": token("off"), **CLIENT, "client_id": "off"}, FORM, (), R.CLIENT_DISABLED),
    "a wrong secret and no token": ({**CLIENT, "client_secret": "x"}, FORM, (), R.BAD_CLIENT_SECRET),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_revoked(served: Served, case: str) -> None:
    body, kind, headers, reason = REFUSED[case]
    reply = served.post(body, *headers, kind=kind)
    check_error(reply)
    assert reply.reason is reason
    assert (served.revoked, served.events) == ({}, [])


@pytest.mark.parametrize("name", ["token", "client_secret", "token_type_hint", "access_token"])
def test_parameters_in_the_url_are_refused(served: Served, name: str) -> None:
    reply = served.post({"token": token(), **CLIENT}, query=f"{name}=x")
    assert check_error(reply) == (400, "invalid_request")
    assert served.revoked == {}


def test_unknown_wrong_and_disabled_are_the_same_bytes(served: Served) -> None:
    pairs = [("x", "secret"), ("c", "wrong"), ("off", "secret"), ("off", "wrong")]
    replies = [served.post({"token": token(), "client_id": name, "client_secret": secret}) for name, secret in pairs]
    assert len({reply[:3] for reply in replies}) == 1
    assert len({reply.reason for reply in replies}) == 3


def test_a_store_that_is_down_is_503_and_never_200() -> None:
    served = Served(StoreDown)
    reply = served.post({"token": token(), **CLIENT})
    assert check_error(reply) == (503, "temporarily_unavailable")
    assert reply.reason is Reason.STORE_UNAVAILABLE
    assert ("Retry-After", "1") in reply.headers
    assert served.events == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [("x", 200), (token(issued=0), 200), (token("other"), 400)],
    ids=["strange", "expired", "another client's"],
)
def test_what_writes_nothing_needs_no_store(sent: str, status: int) -> None:
    assert Served(StoreDown).post({"token": sent, **CLIENT}).status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"])
def test_only_post_is_answered(served: Served, method: str) -> None:
    reply = served.post({"token": token(), **CLIENT}, method=method)
    assert check_error(reply) == (405, "invalid_request")
    assert ("Allow", "POST") in reply.headers
    assert served.revoked == {}


NAMES = st.sampled_from(["token", *CLIENT, "token_type_hint", "x"])
VALUES = st.sampled_from([token(), token("other"), token(issued=0), "c", "secret", "", "%", "\0", "..", "ä"]) | st.text(
    max_size=6
)
MEMBERS = VALUES | st.none() | st.booleans() | st.integers() | st.lists(st.text(max_size=2), max_size=2)
BODIES = (
    st.binary(max_size=60)
    | st.lists(st.tuples(NAMES, VALUES), max_size=6).map(lambda pairs: "&".join(map("=".join, pairs)).encode())
    | st.dictionaries(NAMES, VALUES).map(lambda fields: urlencode({**CLIENT, **fields}).encode())
    | st.dictionaries(NAMES, MEMBERS).map(lambda members: json.dumps({**CLIENT, **members}).encode())
)
AUTHORIZATIONS = (
    st.text(st.characters(max_codepoint=255), max_size=20).map(lambda value: ("Authorization", value))
    | st.binary(max_size=20).map(lambda data: ("authorization", "Basic " + base64.b64encode(data).decode()))
    | st.builds(basic, st.sampled_from(["c", "off", "x"]), st.sampled_from(["secret", "x", "%", ""]))
)


@given(BODIES, st.lists(AUTHORIZATIONS, max_size=2), st.sampled_from([FORM, JSON, "", "x/y"]), st.text(max_size=8))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_answered(body: bytes, headers: list[tuple[str, str]], kind: str, query: str) -> None:
    served = Served()
    reply = served.post(body, *headers, kind=kind, query=query)
    assert reply == DONE or check_error(reply)[0] in (400, 401)
    assert served.revoked.keys() <= {"j"}
    assert served.events == [TokenRevoked("c", jti) for jti in served.revoked]
    if served.revoked:
        assert token().encode() in body, "of the tokens that may come, only this one is the client's and lives"
