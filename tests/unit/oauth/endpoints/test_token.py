"""oauth.endpoints.token: `POST /oauth/token`, called as the data path calls it."""

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import Awaitable, Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.events import Event, TokenIssued
from sidecar.core.jose.keys import KeyRing, SigningKey
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.secrets import SecretHash, hash_secret, parse_secret_hash
from sidecar.core.reasons import Plane, Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import TokenRules
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.endpoints.token import TokenEndpoint, client_credentials
from sidecar.oauth.grants.refresh_token import RefreshTimes, RefreshTokens
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore

NOW = 1_800_000_000.75
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
GRANT = {"grant_type": "client_credentials"}
CLIENT = {"client_id": "c", "client_secret": "secret"}
ASKED = {**GRANT, **CLIENT}
SALT = bytes(16)
CHALLENGE = ("WWW-Authenticate", 'Basic realm="https://issuer", charset="UTF-8"')


def client(client_id: str, secret: str, *grants: str, **fields: Any) -> Client:
    hashed = parse_secret_hash(hash_secret(secret, SALT, "sha256"))
    return Client(client_id, (hashed,), frozenset(grants or ["client_credentials"]), **fields)


def slow(client_id: str, secret: str) -> Client:
    digest = hashlib.scrypt(secret.encode(), salt=SALT, n=2**10, r=1, p=1, dklen=32)
    return client(client_id, "")._replace(secrets=(SecretHash(SALT, digest, (10, 1, 1)),))


FAST_CLIENTS = [
    client("c", "secret", scope=("orders:read", "orders:write"), roles=("analyst", "boss")),
    client("plain", "secret"),
    client("odd id+%", "p+%: ä"),
    client("off", "secret", disabled=True),
    client("others", "secret", "refresh_token", "authorization_code"),
]
RING = KeyRing([SigningKey.hmac("1", "HS256", "k" * 32)])
RULES = TokenRules(issuer="https://issuer", audience="api", access_token_ttl=600, leeway=0, ring=RING)


class Served:
    """The endpoint; `events` is what it said. Ids are `id-1`, `id-2` and so on."""

    def __init__(self, *clients: Client) -> None:
        self.events: list[Event] = []
        self.ids = 0
        self.authenticator = ClientAuthenticator(
            ClientRegistry(clients, bytes(32)), hashes=SlowHashes("secrets"), realm=RULES.issuer
        )
        refresh = RefreshTokens(
            store=MemoryStore(clock=lambda: NOW, emit=self.events.append),
            rules=RULES,
            times=RefreshTimes(3600, 600, repeats=True),
            find_user=lambda _: None,
            keys=lambda: [bytes(32)],
            emit=self.events.append,
            clock=lambda: NOW,
            new_id=self.new_id,
        )
        self.endpoint = TokenEndpoint(
            authenticator=self.authenticator,
            grants={"client_credentials": client_credentials, "refresh_token": refresh},
            refresh=refresh,
            view=RevocationView(math.inf),
            rules=RULES,
            emit=self.events.append,
            clock=lambda: NOW,
            new_id=self.new_id,
        )

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def post(
        self, body: object, *headers: tuple[str, str], kind: str = FORM, query: str = "", method: str = "POST"
    ) -> Reply:
        """Send bytes as they are, anything else as a form or as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if kind == JSON else urlencode(body).encode()  # type: ignore[arg-type]
        fields = (("Content-Type", kind), *headers)
        return asyncio.run(self.endpoint(EndpointRequest(method, "/oauth/token", query, fields, body, "peer")))


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served(*FAST_CLIENTS, slow("slow", "slow-secret"))
    yield made
    made.authenticator._hashes.close()


def basic(client_id: str, secret: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def check_error(reply: Reply) -> tuple[int, str]:
    """RFC 6749 section 5.2, with our `reason` and TapData's `code`; the status and the `error`."""
    body = json.loads(reply.body)
    assert body.keys() == {"error", "error_description", "reason", "code"}
    assert reply.reason is not None
    assert (body["code"], body["error"]) == (reply.status, reply.reason.error) == (reply.reason.status, body["error"])
    assert {("Content-Type", JSON), ("Cache-Control", "no-store")} <= set(reply.headers)
    assert ("WWW-Authenticate" in dict(reply.headers)) is (reply.status == 401)
    return reply.status, body["error"]


GOOD: dict[str, tuple[Any, ...]] = {
    "a form": (ASKED,),
    "a form that ends in an ampersand": (urlencode(ASKED).encode() + b"&",),
    "Basic": (GRANT, basic("c", "secret")),
    "Basic, percent-encoded": (GRANT, basic("%63", "s%65cret")),
    "Basic beside its client_id": ({**GRANT, "client_id": "c"}, basic("c", "secret")),
    "an empty scope": ({**ASKED, "scope": ""},),
    "an unknown parameter": ({**ASKED, "resource": "https://api"},),
}
GOOD_JSON: dict[str, tuple[Any, ...]] = {
    "JSON": (ASKED,),
    "JSON with a null": ({**ASKED, "scope": None},),
    "JSON with members of its own": ({**ASKED, "n": 1, "l": [{}], "b": True},),
    "JSON and Basic": (GRANT, basic("c", "secret")),
}


@pytest.mark.parametrize(
    ("ask", "kind"), [*((ask, FORM) for ask in GOOD.values()), *((ask, JSON) for ask in GOOD_JSON.values())],
    ids=[*GOOD, *GOOD_JSON],
)  # fmt: skip
def test_a_token_is_issued(served: Served, ask: tuple[Any, ...], kind: str) -> None:
    """RFC 6749 section 5.1."""
    reply = served.post(*ask, kind=kind)
    body = json.loads(reply.body)
    token = RULES.verify(body.pop("access_token"), NOW)
    assert body == {"token_type": "Bearer", "expires_in": 600, "scope": "orders:read orders:write"}
    assert type(body["expires_in"]) is int
    claims = ("id-1", "c", "c", ("orders:read", "orders:write"), ("analyst", "boss"), int(NOW), int(NOW) + 600)
    assert token == (*claims, "1")
    assert (reply.status, reply.reason, reply.client_id) == (200, None, "c")
    assert reply.headers == (("Content-Type", JSON), ("Cache-Control", "no-store"), ("Pragma", "no-cache"))
    assert served.events == [TokenIssued("client_credentials", "c", "id-1")]


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({"client_id": "odd id+%", "client_secret": "p+%: ä"}, ()),
        ({}, (basic("odd id+%", "p+%: ä"),)),
        ({}, (basic(quote_plus("odd id+%"), quote_plus("p+%: ä")),)),
    ],
)
def test_any_character_may_stand_in_id_and_secret(
    served: Served, fields: dict[str, str], header: tuple[Any, ...]
) -> None:
    reply = served.post({**GRANT, **fields}, *header)
    assert RULES.verify(json.loads(reply.body)["access_token"], NOW).client_id == "odd id+%"


def test_a_slow_secret_works_each_time(served: Served) -> None:
    asked = {**GRANT, "client_id": "slow", "client_secret": "slow-secret"}
    assert [served.post(asked).status for _ in range(3)] == [200, 200, 200]


def test_every_token_has_an_id_of_its_own(served: Served) -> None:
    replies = [json.loads(served.post(ASKED).body)["access_token"] for _ in range(3)]
    assert [RULES.verify(token, NOW).jti for token in replies] == ["id-1", "id-2", "id-3"]


@pytest.mark.parametrize(
    ("name", "asked", "scope"),
    [
        ("c", "orders:write", "orders:write"),
        ("c", "orders:write orders:read", "orders:write orders:read"),
        ("c", "orders:read  orders:read ", "orders:read"),
        ("c", None, "orders:read orders:write"),
        ("plain", None, ""),
    ],
)
def test_the_answer_names_the_scope_of_the_token(served: Served, name: str, asked: str | None, scope: str) -> None:
    reply = served.post({**ASKED, "client_id": name, **({"scope": asked} if asked else {})})
    body = json.loads(reply.body)
    assert body["scope"] == scope
    assert " ".join(RULES.verify(body["access_token"], NOW).scope) == scope


R = Reason
INVALID: dict[str, tuple[dict[str, Any] | bytes, Reason]] = {
    "nothing": ({}, R.UNKNOWN_CLIENT),
    "no grant type": (CLIENT, R.INVALID_REQUEST),
    "an empty grant type": ({**ASKED, "grant_type": ""}, R.INVALID_REQUEST),
    "another grant type": ({**ASKED, "grant_type": "password"}, R.UNSUPPORTED_GRANT),
    "a grant type in capitals": ({**ASKED, "grant_type": "CLIENT_CREDENTIALS"}, R.UNSUPPORTED_GRANT),
    "a grant of others": ({**ASKED, "client_id": "others"}, R.UNAUTHORIZED_GRANT),
    "another scope": ({**ASKED, "scope": "orders:delete"}, R.INVALID_SCOPE),
    "a scope too many": ({**ASKED, "scope": "orders:read orders:delete"}, R.INVALID_SCOPE),
    "blank scopes": ({**ASKED, "scope": " "}, R.INVALID_SCOPE),
    "a scope for who has none": ({**ASKED, "client_id": "plain", "scope": "orders:read"}, R.INVALID_SCOPE),
    "no secret": ({**GRANT, "client_id": "c"}, R.WRONG_AUTH_METHOD),
    "no id": ({**GRANT, "client_secret": "secret"}, R.UNKNOWN_CLIENT),
    "an unknown client": ({**ASKED, "client_id": "nobody"}, R.UNKNOWN_CLIENT),
    "a wrong secret": ({**ASKED, "client_secret": "wrong"}, R.BAD_CLIENT_SECRET),
    "a wrong slow secret": ({**ASKED, "client_id": "slow"}, R.BAD_CLIENT_SECRET),
    "a disabled client": ({**ASKED, "client_id": "off"}, R.CLIENT_DISABLED),
    "a client before its grant": ({**ASKED, "client_secret": "wrong", "grant_type": "password"}, R.BAD_CLIENT_SECRET),
    "a line feed": ({**ASKED, "scope": "orders:read\n"}, R.INVALID_REQUEST),
}
INVALID_FORMS: dict[str, bytes] = {
    "the grant twice": urlencode([*ASKED.items(), *GRANT.items()]).encode(),
    "the secret twice": urlencode([*ASKED.items(), ("client_secret", "secret")]).encode(),
    "an unknown parameter twice": urlencode([*ASKED.items(), ("x", "1"), ("x", "2")]).encode(),
    "a broken escape": urlencode(ASKED).encode() + b"&x=%",
    "no UTF-8": urlencode(ASKED).encode() + b"&x=%ff",
}
INVALID_JSON: dict[str, bytes] = {
    "a form": urlencode(ASKED).encode(),
    "a list": json.dumps([ASKED]).encode(),
    "half": json.dumps(ASKED).encode()[:-1],
    "a member twice": json.dumps(ASKED).encode()[:-1] + b', "scope": "a", "scope": "a"}',
    "a number": json.dumps({**ASKED, "client_secret": 5}).encode(),
    "a list of scopes": json.dumps({**ASKED, "scope": ["orders:read"]}).encode(),
    "true": json.dumps({**ASKED, "grant_type": True}).encode(),
    "an object": json.dumps({**ASKED, "client_id": {"$ne": ""}}).encode(),
    "deep": b'{"x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("kind", [FORM, JSON])
@pytest.mark.parametrize("case", INVALID)
def test_no_token_is_issued(served: Served, case: str, kind: str) -> None:
    """Nor is an id used up, nor an event said."""
    body, reason = INVALID[case]
    reply = served.post(body, kind=kind)
    check_error(reply)
    assert reply.reason is reason
    assert (served.events, served.ids) == ([], 0)


@pytest.mark.parametrize("case", INVALID_FORMS)
def test_a_form_is_refused(served: Served, case: str) -> None:
    assert check_error(served.post(INVALID_FORMS[case])) == (400, "invalid_request")


@pytest.mark.parametrize("case", INVALID_JSON)
def test_json_is_refused(served: Served, case: str) -> None:
    assert check_error(served.post(INVALID_JSON[case], kind=JSON)) == (400, "invalid_request")


@pytest.mark.parametrize(
    "query", ["client_id=c&client_secret=secret", "grant_type=client_credentials", "scop%65=x", "token"]
)
def test_parameters_in_the_url_are_refused_beside_good_ones(served: Served, query: str) -> None:
    reply = served.post(ASKED, query=query)
    assert check_error(reply) == (400, "invalid_request")
    assert b"secret" not in reply.body
    assert served.events == []


@pytest.mark.parametrize(
    "headers",
    [
        [basic("c", "secret"), basic("c", "secret")],
        [("Content-Type", FORM)],
        [("Content-Encoding", "gzip")],
    ],
    ids=["Authorization twice", "Content-Type twice", "compressed"],
)
def test_a_header_that_could_be_read_two_ways_is_refused(served: Served, headers: list[tuple[str, str]]) -> None:
    assert check_error(served.post(GRANT, *headers)) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"])
def test_only_post_is_answered(served: Served, method: str) -> None:
    reply = served.post(ASKED, method=method)
    assert check_error(reply) == (405, "invalid_request")
    assert ("Allow", "POST") in reply.headers
    assert served.events == []


@pytest.mark.parametrize("by_header", [False, True])
def test_unknown_wrong_and_disabled_are_the_same_bytes(served: Served, *, by_header: bool) -> None:
    """The reason differs, for metric and log only."""
    rows = {
        ("nobody", "secret"): (R.UNKNOWN_CLIENT, None),
        ("c", "wrong"): (R.BAD_CLIENT_SECRET, "c"),
        ("slow", "wrong"): (R.BAD_CLIENT_SECRET, "slow"),
        ("off", "secret"): (R.CLIENT_DISABLED, "off"),
        ("off", "wrong"): (R.BAD_CLIENT_SECRET, "off"),
    }
    replies = []
    for (name, secret), told in rows.items():
        sent = {"client_id": name, "client_secret": secret}
        reply = served.post(GRANT, basic(name, secret)) if by_header else served.post({**GRANT, **sent})
        assert (reply.reason, reply.client_id) == told
        replies.append(reply)
    assert len({reply[:3] for reply in replies}) == 1
    assert CHALLENGE in replies[0].headers
    assert json.loads(replies[0].body)["reason"] == "invalid_client"


def test_a_storm_of_slow_secrets_is_throttled(served: Served) -> None:
    request = EndpointRequest("POST", "/oauth/token", "", (("Content-Type", FORM), basic("slow", "wrong")), b"", "peer")

    async def storm() -> list[Reply]:
        return await asyncio.gather(*(served.endpoint(request) for _ in range(20)))

    replies = asyncio.run(storm())
    assert [reply.reason for reply in replies] == [R.BAD_CLIENT_SECRET] * 12 + [R.THROTTLED] * 8
    assert {reply.client_id for reply in replies} == {"slow"}, "who has to wait is named, too"
    assert check_error(replies[-1]) == (429, "temporarily_unavailable")
    assert ("Retry-After", "1") in replies[-1].headers


async def test_a_reply_is_there_at_once_unless_something_must_be_waited_for(served: Served) -> None:
    def begin(*headers: tuple[str, str], **asked: str) -> Reply | Awaitable[Reply]:
        fields = (("Content-Type", FORM), *headers)
        body = urlencode({**GRANT, **asked}).encode()
        return served.endpoint.begin(EndpointRequest("POST", "/oauth/token", "", fields, body, "peer"))

    for reply, status in (
        (begin(**CLIENT), 200),
        (begin(basic("c", "secret")), 200),
        (begin(**CLIENT, scope="x"), 400),
    ):
        assert isinstance(reply, Reply)
        assert reply.status == status
    slow_hash = begin(basic("slow", "slow-secret"))
    assert not isinstance(slow_hash, Reply)
    assert (await slow_hash).status == 200
    again = begin(basic("slow", "slow-secret"))
    assert isinstance(again, Reply), "it is remembered"
    other_grant = begin(
        **{**CLIENT, "client_id": "others"}, grant_type="refresh_token", refresh_token="x" * 22 + "." + "y" * 43
    )
    assert not isinstance(other_grant, Reply)
    assert (await other_grant).status == 400


async def test_a_slow_signature_is_left_to_a_task(served: Served) -> None:
    """Else a client that sends many requests at a time would hold up everybody for as many signatures."""
    served.endpoint._quick = False
    begun = served.endpoint.begin(
        EndpointRequest("POST", "/oauth/token", "", (("Content-Type", FORM),), urlencode(ASKED).encode(), "peer")
    )
    assert not isinstance(begun, Reply)
    assert served.events == []
    assert (await begun).status == 200


def test_the_body_is_json_as_one_call_would_write_it(served: Served) -> None:
    reply = served.post(ASKED)
    said = json.loads(reply.body)
    assert list(said) == ["access_token", "token_type", "expires_in", "scope"]
    assert reply.body == json.dumps(said).encode() + b"\n"


NAMES = st.sampled_from([*ASKED, "scope", "token", "x"])
VALUES = st.sampled_from(["client_credentials", "c", "secret", "orders:read", "", "%", "+", "\0", "ä"]) | st.text(
    max_size=6
)
MEMBERS = VALUES | st.none() | st.booleans() | st.integers() | st.lists(st.text(max_size=2), max_size=2)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
BODIES = (
    st.binary(max_size=60)
    | PAIRS.map(lambda pairs: urlencode(pairs, errors="surrogatepass").encode())
    | PAIRS.map(lambda pairs: "&".join(map("=".join, pairs)).encode("utf-8", "surrogatepass"))
    | st.dictionaries(NAMES, MEMBERS).map(lambda members: json.dumps(members).encode())
    | st.dictionaries(NAMES, MEMBERS).map(lambda members: json.dumps({**ASKED, **members}).encode())
)
AUTHORIZATIONS = (
    st.text(st.characters(max_codepoint=255), max_size=20).map(lambda value: ("Authorization", value))
    | st.binary(max_size=20).map(lambda data: ("authorization", "Basic " + base64.b64encode(data).decode()))
    | st.builds(basic, st.sampled_from(["c", "off", "x", "%63"]), st.sampled_from(["secret", "x", "%", ""]))
)
SERVED = Served(*FAST_CLIENTS)


@given(BODIES, st.lists(AUTHORIZATIONS, max_size=2), st.sampled_from([FORM, JSON, "", "x/y"]), st.text(max_size=8))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_answered(body: bytes, headers: list[tuple[str, str]], kind: str, query: str) -> None:
    reply = SERVED.post(body, *headers, kind=kind, query=query)
    assert ("Cache-Control", "no-store") in reply.headers
    if reply.status == 200:
        assert RULES.verify(json.loads(reply.body)["access_token"], NOW).client_id == "c"
        return
    assert check_error(reply)[0] in (400, 401)
    assert reply.reason
    assert reply.reason.plane is Plane.TOKEN
