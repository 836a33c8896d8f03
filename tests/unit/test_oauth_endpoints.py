"""The token and revocation endpoints, called as the data path calls them."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.clients import Client, ClientRegistry
from sidecar.core.events import Event, TokenIssued, TokenRevoked
from sidecar.core.keys import KeyRing, SigningKey
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.secrets import hash_secret, parse_secret_hash
from sidecar.core.tokens import TokenRules
from sidecar.oauth.client_auth import ClientAuthenticator
from sidecar.oauth.revoke import RevokeEndpoint
from sidecar.oauth.token import TokenEndpoint
from sidecar.stores.memory import MemoryStore

NOW = 1_800_000_000.0
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
GRANT = {"grant_type": "client_credentials"}
POST_AUTH = {"client_id": "c", "client_secret": "secret"}


class Parts:
    """The endpoints over a memory store; `events` is what they said, `now` what their clock says."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = NOW
        ring = KeyRing([SigningKey.hmac("1", "HS256", "k" * 32)])
        self.rules = TokenRules(issuer="i", audience="a", access_token_ttl=600, leeway=0, ring=ring)
        self.store = MemoryStore(clock=self.clock, emit=self.events.append)
        registry = ClientRegistry(
            [
                client("c", "secret", scope=("x", "y"), roles=("r",)),
                client("other", "other-secret"),
                client("odd id+%", "p+%: ä"),
                client("slow", "slow-secret", scheme="scrypt"),
                client("off", "off-secret", disabled=True),
                client("nogrants", "secret", grants=frozenset()),
            ],
            memo_key=bytes(32),
        )
        self.authenticator = ClientAuthenticator(registry, realm="i")
        self.token = TokenEndpoint(
            authenticator=self.authenticator,
            rules=self.rules,
            emit=self.events.append,
            clock=self.clock,
            new_id=lambda: f"id-{len(self.events)}",
        )
        self.revoke = RevokeEndpoint(
            authenticator=self.authenticator,
            rules=self.rules,
            store=self.store,
            emit=self.events.append,
            clock=self.clock,
        )

    def clock(self) -> float:
        return self.now

    def ask(self, body: Any, *headers: tuple[str, str], endpoint: Any = None, kind: str = FORM, **more: Any) -> Reply:
        """POST a form (from a mapping), JSON, or bytes as they are."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if kind == JSON else urlencode(body).encode()
        request = EndpointRequest(
            more.get("method", "POST"),
            "/oauth",
            more.get("query", ""),
            (("Content-Type", kind), *headers),
            body,
            "peer",
        )
        reply: Reply = asyncio.run((endpoint or self.token)(request))
        return reply

    def issued(self, **auth: str) -> str:
        reply = self.ask({**GRANT, **(auth or POST_AUTH)})
        token: str = json.loads(reply.body)["access_token"]
        return token


def client(
    client_id: str,
    secret: str,
    *,
    scheme: Any = "sha256",
    grants: frozenset[str] = frozenset(["client_credentials"]),
    **fields: Any,
) -> Client:
    return Client(client_id, parse_secret_hash(hash_secret(secret, bytes(16), scheme)), grants, **fields)


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    yield made
    made.authenticator.close()


def basic(client_id: str, secret: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def error(reply: Reply) -> tuple[int, str]:
    body = json.loads(reply.body)
    assert body["code"] == reply.status
    assert {"error", "error_description", "reason", "code"} == body.keys()
    assert ("Cache-Control", "no-store") in reply.headers
    return reply.status, body["error"]


def test_the_answer_is_that_of_rfc_6749(parts: Parts) -> None:
    reply = parts.ask({**GRANT, **POST_AUTH})
    body = json.loads(reply.body)
    token = parts.rules.verify(body.pop("access_token"), NOW)
    assert body == {"token_type": "Bearer", "expires_in": 600, "scope": "x y"}
    assert (token.client_id, token.scope, token.roles, token.jti) == ("c", ("x", "y"), ("r",), "id-0")
    assert reply.status == 200
    assert {("Content-Type", JSON), ("Cache-Control", "no-store"), ("Pragma", "no-cache")} <= set(reply.headers)
    assert parts.events == [TokenIssued("client_credentials", "c", "id-0")]


GOOD: dict[str, Callable[[Parts], Reply]] = {
    "a form": lambda p: p.ask({**GRANT, **POST_AUTH}),
    "JSON": lambda p: p.ask({**GRANT, **POST_AUTH}, kind=JSON),
    "JSON with null and other members": lambda p: p.ask({**GRANT, **POST_AUTH, "scope": None, "n": {"a": [1]}}, kind=JSON),
    "a charset": lambda p: p.ask({**GRANT, **POST_AUTH}, kind=FORM + "; charset=UTF-8"),
    "Basic": lambda p: p.ask(GRANT, basic("c", "secret")),
    "basic in small letters": lambda p: p.ask(GRANT, ("authorization", basic("c", "secret")[1].replace("Basic", "bAsIC"))),
    "Basic and the same client_id": lambda p: p.ask({**GRANT, "client_id": "c"}, basic("c", "secret")),
    "Basic as RFC 6749 encodes it": lambda p: p.ask(GRANT, basic(quote_plus("odd id+%"), quote_plus("p+%: ä"))),
    "Basic as curl sends it": lambda p: p.ask(GRANT, basic("odd id+%", "p+%: ä")),
    "a slow secret": lambda p: p.ask({**GRANT, "client_id": "slow", "client_secret": "slow-secret"}),
    "an unknown parameter": lambda p: p.ask({**GRANT, **POST_AUTH, "audience": "x"}),
    "an empty scope": lambda p: p.ask({**GRANT, **POST_AUTH, "scope": ""}),
    "a query that is not OAuth's": lambda p: p.ask({**GRANT, **POST_AUTH}, query="trace=1"),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_a_token_is_given(parts: Parts, case: str) -> None:
    assert GOOD[case](parts).status == 200


REQUEST, CLIENT_ERROR = (400, "invalid_request"), (401, "invalid_client")
BAD: dict[str, tuple[Callable[[Parts], Reply], tuple[int, str]]] = {
    "GET": (lambda p: p.ask(b"", method="GET"), (405, "invalid_request")),
    "no grant type": (lambda p: p.ask(POST_AUTH), REQUEST),
    "an empty grant type": (lambda p: p.ask({**POST_AUTH, "grant_type": ""}), REQUEST),
    "an unknown grant": (lambda p: p.ask({**POST_AUTH, "grant_type": "password"}), (400, "unsupported_grant_type")),
    "a grant that is not the client's": (
        lambda p: p.ask({**GRANT, "client_id": "nogrants", "client_secret": "secret"}), (400, "unauthorized_client"),
    ),
    "a scope too many": (lambda p: p.ask({**GRANT, **POST_AUTH, "scope": "x z"}), (400, "invalid_scope")),
    "no client": (lambda p: p.ask(GRANT), CLIENT_ERROR),
    "no secret": (lambda p: p.ask({**GRANT, "client_id": "c"}), CLIENT_ERROR),
    "a wrong secret": (lambda p: p.ask({**GRANT, "client_id": "c", "client_secret": "x"}), CLIENT_ERROR),
    "a wrong slow secret": (lambda p: p.ask({**GRANT, "client_id": "slow", "client_secret": "x"}), CLIENT_ERROR),
    "an unknown client": (lambda p: p.ask({**GRANT, "client_id": "x", "client_secret": "x"}), CLIENT_ERROR),
    "a disabled client": (lambda p: p.ask({**GRANT, "client_id": "off", "client_secret": "off-secret"}), CLIENT_ERROR),
    "a NUL after the secret": (lambda p: p.ask(GRANT, basic("slow", "slow-secret\0")), CLIENT_ERROR),
    "two ways": (lambda p: p.ask({**GRANT, **POST_AUTH}, basic("c", "secret")), REQUEST),
    "two clients": (lambda p: p.ask({**GRANT, "client_id": "other"}, basic("c", "secret")), REQUEST),
    "two headers": (lambda p: p.ask(GRANT, basic("c", "secret"), basic("c", "secret")), REQUEST),
    "Bearer": (lambda p: p.ask(GRANT, ("Authorization", "Bearer x")), CLIENT_ERROR),
    "Basic that is no base64": (lambda p: p.ask(GRANT, ("Authorization", "Basic !!!")), CLIENT_ERROR),
    "Basic without colon": (lambda p: p.ask(GRANT, ("Authorization", "Basic Yw==")), CLIENT_ERROR),
    "Basic that is no UTF-8": (lambda p: p.ask(GRANT, ("Authorization", "Basic /zr/")), CLIENT_ERROR),
    "a parameter twice": (lambda p: p.ask([*GRANT.items(), *GRANT.items(), *POST_AUTH.items()]), REQUEST),
    "an unknown parameter twice": (lambda p: p.ask(b"a=1&a=2&grant_type=client_credentials"), REQUEST),
    "a JSON member twice": (lambda p: p.ask(b'{"grant_type":"a","grant_type":"client_credentials"}', kind=JSON), REQUEST),
    "the secret in the URL": (lambda p: p.ask({**GRANT, "client_id": "c"}, query="client_secret=secret"), REQUEST),
    "the grant in the URL": (lambda p: p.ask(POST_AUTH, query="grant%5Ftype=client_credentials"), REQUEST),
    "a number for a string": (lambda p: p.ask({**GRANT, "client_id": "c", "client_secret": 5}, kind=JSON), REQUEST),
    "a list for a string": (lambda p: p.ask({**GRANT, **POST_AUTH, "scope": ["x"]}, kind=JSON), REQUEST),
    "a JSON list": (lambda p: p.ask([["grant_type", "client_credentials"]], kind=JSON), REQUEST),
    "no JSON": (lambda p: p.ask(b"{", kind=JSON), REQUEST),
    "deep JSON": (lambda p: p.ask(b'{"a":' + b"[" * 60_000, kind=JSON), REQUEST),
    "a form as JSON": (lambda p: p.ask(urlencode({**GRANT, **POST_AUTH}).encode(), kind=JSON), REQUEST),
    "text": (lambda p: p.ask({**GRANT, **POST_AUTH}, kind="text/plain"), REQUEST),
    "two content types": (lambda p: p.ask({**GRANT, **POST_AUTH}, ("Content-Type", JSON)), REQUEST),
    "a compressed body": (lambda p: p.ask({**GRANT, **POST_AUTH}, ("Content-Encoding", "gzip")), REQUEST),
    "no UTF-8": (lambda p: p.ask(b"grant_type=%ff"), REQUEST),
    "a broken escape": (lambda p: p.ask(b"grant_type=%zz"), REQUEST),
    "a line feed": (lambda p: p.ask({**GRANT, "client_id": "c\n", "client_secret": "secret"}), REQUEST),
    "a thousand parameters": (lambda p: p.ask(b"&".join(b"a%d=" % n for n in range(1000))), REQUEST),
    "nothing": (lambda p: p.ask(b""), CLIENT_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_no_token_is_given_and_the_error_is_that_of_rfc_6749(parts: Parts, case: str) -> None:
    ask, expected = BAD[case]
    reply = ask(parts)
    assert error(reply) == expected
    assert parts.events == []
    challenges = [value for name, value in reply.headers if name == "WWW-Authenticate"]
    assert [value.partition(" ")[0] for value in challenges] == (["Basic"] if expected == CLIENT_ERROR else [])


def test_unknown_wrong_and_disabled_read_the_same_and_are_counted_apart(parts: Parts) -> None:
    replies = [
        parts.ask({**GRANT, "client_id": name, "client_secret": secret})
        for name, secret in (("x", "x"), ("c", "x"), ("off", "off-secret"), ("slow", "x"))
    ]
    assert len({(reply.status, reply.headers, reply.body) for reply in replies}) == 1
    assert [reply.reason for reply in replies] == [
        Reason.UNKNOWN_CLIENT, Reason.BAD_CLIENT_SECRET, Reason.CLIENT_DISABLED, Reason.BAD_CLIENT_SECRET,
    ]  # fmt: skip
    assert [reply.client_id for reply in replies] == [None, "c", "off", "slow"]


def test_a_storm_of_slow_secrets_is_throttled(parts: Parts) -> None:
    async def storm() -> list[Reply]:
        request = EndpointRequest(
            "POST", "/", "", (("Content-Type", FORM),), b"grant_type=x&client_id=slow&client_secret=wrong", "peer"
        )
        return await asyncio.gather(*(parts.token(request) for _ in range(40)))

    statuses = [reply.status for reply in asyncio.run(storm())]
    assert statuses.count(401) == 16
    assert statuses.count(429) == 24


def test_a_client_revokes_its_own_token(parts: Parts) -> None:
    token = parts.issued()
    reply = parts.ask({"token": token, "token_type_hint": "access_token", **POST_AUTH}, endpoint=parts.revoke)
    assert (reply.status, reply.body, reply.client_id) == (200, b"", "c")
    assert parts.events[-1] == TokenRevoked("c", "id-0")
    assert parts.store._view.live(NOW) == {"id-0": int(NOW) + 600 + 60}


def test_what_is_not_accepted_anyway_is_200_and_nothing_is_kept(parts: Parts) -> None:
    """RFC 7009 section 2.2: an invalid token is no error."""
    old = parts.issued()
    parts.now += 600 + 60
    for token in (old, "x", "a.b.c", old[:-3], "eyJhbGciOiJub25lIn0.e30."):
        assert parts.ask({"token": token, **POST_AUTH}, endpoint=parts.revoke).status == 200
    assert len(parts.store._view) == 0
    assert not [event for event in parts.events if isinstance(event, TokenRevoked)]


def test_another_clients_token_stays_valid(parts: Parts) -> None:
    token = parts.issued(client_id="other", client_secret="other-secret")
    reply = parts.ask({"token": token, **POST_AUTH}, endpoint=parts.revoke)
    assert error(reply) == (400, "invalid_grant")
    assert len(parts.store._view) == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (POST_AUTH, REQUEST),
        ({"token": "x"}, CLIENT_ERROR),
        ({"token": "x", "client_id": "c", "client_secret": "y"}, CLIENT_ERROR),
    ],
)
def test_revoking_needs_a_token_and_a_client(parts: Parts, body: dict[str, str], expected: tuple[int, str]) -> None:
    assert error(parts.ask(body, endpoint=parts.revoke)) == expected


def test_a_write_that_failed_is_503_and_never_200(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("no connection")

    token = parts.issued()
    monkeypatch.setattr(parts.store, "revoke", down)
    reply = parts.ask({"token": token, **POST_AUTH}, endpoint=parts.revoke)
    assert error(reply) == (503, "temporarily_unavailable")
    assert ("Retry-After", "1") in reply.headers
    assert not [event for event in parts.events if isinstance(event, TokenRevoked)]


def test_revoke_answers_only_post(parts: Parts) -> None:
    assert ("Allow", "POST") in parts.ask(b"", endpoint=parts.revoke, method="GET").headers


names = st.sampled_from([*GRANT, *POST_AUTH, "scope", "token", "x"])
values = st.sampled_from(["client_credentials", "c", "secret", "x y", "", "%", "\x00", "ä", "\ud800"]) | st.text(
    max_size=8
)
bodies = (
    st.binary(max_size=60)
    | st.lists(st.tuples(names, values), max_size=6).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogatepass"))
    | st.dictionaries(names, values | st.none() | st.integers() | st.lists(st.text(max_size=2), max_size=2)).map(
        lambda members: json.dumps(members).encode())
)  # fmt: skip
authorizations = st.lists(
    st.text(max_size=20) | st.binary(max_size=20).map(lambda data: "Basic " + base64.b64encode(data).decode()),
    max_size=2,
)


@given(bodies, authorizations, st.sampled_from([FORM, JSON, "", "x/y"]), st.text(max_size=10), st.booleans())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered(
    parts: Parts, body: bytes, authorization: list[str], kind: str, query: str, revoke: bool
) -> None:
    headers = [("Authorization", value) for value in authorization]
    reply = parts.ask(body, *headers, endpoint=parts.revoke if revoke else parts.token, kind=kind, query=query)
    assert reply.status in (200, 400, 401)
    if reply.status != 200:
        error(reply)
