"""oauth.clients.authentication: which client sent a request, and what asking may cost."""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Iterator, Sequence
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.clients import AuthMethod, Client, ClientRegistry, Recognised
from sidecar.core.oauth.secrets import SecretHash, hash_secret, parse_secret_hash
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.slow_hashes import SlowHashes

SALT = bytes(16)
ODD_ID, ODD_SECRET = "odd id+%41:ä", "p+%41: ä"


def fast(client_id: str, secret: str, *, disabled: bool = False) -> Client:
    hashed = parse_secret_hash(hash_secret(secret, SALT, "sha256"))
    return Client(client_id, (hashed,), frozenset(), disabled=disabled)


def slow(client_id: str, secret: str) -> Client:
    """scrypt at its cheapest."""
    digest = hashlib.scrypt(secret.encode(), salt=SALT, n=2**10, r=1, p=1, dklen=32)
    return Client(client_id, (SecretHash(SALT, digest, (10, 1, 1)),), frozenset())


FAST = [
    fast("c", "secret"),
    fast("other", "secret"),
    fast("a b", "secret"),
    fast("a+b", "plus"),
    fast("x+y", "secret"),
    fast("100%", "100%"),
    fast(ODD_ID, ODD_SECRET),
    fast("off", "secret", disabled=True),
]


class HeldRegistry(ClientRegistry):
    """Its slow path waits until `released` is set; at most `most` were in it at once."""

    def __init__(self, clients: list[Client]) -> None:
        super().__init__(clients, bytes(32))
        self.released = threading.Event()
        self.inside = self.most = 0

    def authenticate(self, client_id: str, secrets: Sequence[str], method: AuthMethod) -> Recognised:
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.released.wait(10)
        try:
            return super().authenticate(client_id, secrets, method)
        finally:
            self.inside -= 1


@pytest.fixture
def authenticator() -> Iterator[ClientAuthenticator]:
    made = ClientAuthenticator(
        ClientRegistry([*FAST, slow("slow", "slow-secret")], bytes(32)), hashes=SlowHashes("secrets"), realm="https://i"
    )
    yield made
    made._hashes.close()


@pytest.fixture
def held() -> Iterator[HeldRegistry]:
    made = HeldRegistry([*FAST, slow("slow", "slow-secret"), slow("known", "slow-secret")])
    yield made
    made.released.set()


@pytest.fixture
def queue(held: HeldRegistry) -> Iterator[ClientAuthenticator]:
    made = ClientAuthenticator(held, hashes=SlowHashes("secrets"), realm="i")
    yield made
    held.released.set()
    made._hashes.close()


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def raw(data: bytes) -> str:
    return "Basic " + base64.b64encode(data).decode()


def body(client_id: str, secret: str = "secret") -> dict[str, str]:
    return {"client_id": client_id, "client_secret": secret}


def asked(*headers: str, name: str = "Authorization") -> EndpointRequest:
    return EndpointRequest("POST", "/", "", tuple((name, value) for value in headers), b"", "peer")


RECOGNISED: list[tuple[list[str], dict[str, str], str]] = [
    ([], body("c"), "c"),
    ([], body("a+b", "plus"), "a+b"),
    ([], body(ODD_ID, ODD_SECRET), ODD_ID),
    ([], body("slow", "slow-secret"), "slow"),
    ([basic("c", "secret")], {}, "c"),
    ([basic("c", "secret")], {"client_id": "c"}, "c"),
    ([basic("slow", "slow-secret")], {}, "slow"),
    ([basic("c", "secret").replace("Basic", "bAsIc")], {}, "c"),
    ([basic("c", "secret").replace(" ", "   ") + " "], {}, "c"),
    # Encoded as RFC 6749 section 2.3.1 asks, and as curl sends it.
    ([basic("%63", "s%65cret")], {}, "c"),
    ([basic(quote_plus("a b"), "secret")], {}, "a b"),
    ([basic("a b", "secret")], {}, "a b"),
    ([basic(quote_plus("a+b"), "plus")], {}, "a+b"),
    ([basic("x+y", "secret")], {}, "x+y"),
    ([basic("100%", "100%")], {}, "100%"),
    ([basic(quote_plus("100%"), quote_plus("100%"))], {}, "100%"),
    ([basic(quote_plus("100%"), "100%")], {}, "100%"),
    ([basic(quote_plus(ODD_ID), quote_plus(ODD_SECRET))], {}, ODD_ID),
    ([basic(quote_plus(ODD_ID), ODD_SECRET)], {}, ODD_ID),
    ([basic(quote_plus(ODD_ID), ODD_SECRET)], {"client_id": ODD_ID}, ODD_ID),
]
REFUSED: list[tuple[list[str], dict[str, str], Reason]] = [
    ([], {}, Reason.UNKNOWN_CLIENT),
    ([], {"client_id": "c"}, Reason.WRONG_AUTH_METHOD),
    ([], {"client_id": "nobody"}, Reason.UNKNOWN_CLIENT),
    ([], {"client_secret": "secret"}, Reason.UNKNOWN_CLIENT),
    ([], body("nobody"), Reason.UNKNOWN_CLIENT),
    ([], body("C"), Reason.UNKNOWN_CLIENT),
    ([], body("%63"), Reason.UNKNOWN_CLIENT),
    ([], body("c", "Secret"), Reason.BAD_CLIENT_SECRET),
    ([], body("c", "s%65cret"), Reason.BAD_CLIENT_SECRET),
    ([], body("c", "secret\0"), Reason.BAD_CLIENT_SECRET),
    ([], body("c", "\ud800"), Reason.BAD_CLIENT_SECRET),
    ([], body("\ud800"), Reason.UNKNOWN_CLIENT),
    ([], body("slow"), Reason.BAD_CLIENT_SECRET),
    ([], body("off"), Reason.CLIENT_DISABLED),
    ([], body("off", "wrong"), Reason.BAD_CLIENT_SECRET),
    ([basic("off", "secret")], {}, Reason.CLIENT_DISABLED),
    ([basic("nobody", "secret")], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "wrong")], {}, Reason.BAD_CLIENT_SECRET),
    ([basic("c", "")], {}, Reason.BAD_CLIENT_SECRET),
    ([basic("", "")], {}, Reason.UNKNOWN_CLIENT),
    ([basic("slow", "slow-secret\0")], {}, Reason.BAD_CLIENT_SECRET),
    ([basic("a+b", "plus")], {}, Reason.BAD_CLIENT_SECRET),  # reads as the client "a b", which exists
    ([basic("c", "s%2565cret")], {}, Reason.BAD_CLIENT_SECRET),  # decoded once, not twice
    ([basic("%2563", "secret")], {}, Reason.UNKNOWN_CLIENT),
    ([basic(" c", "secret")], {}, Reason.UNKNOWN_CLIENT),
    ([raw(b"c")], {}, Reason.UNKNOWN_CLIENT),
    ([raw(b"")], {}, Reason.UNKNOWN_CLIENT),
    ([raw(b"\xff:\xff")], {}, Reason.UNKNOWN_CLIENT),
    (["Basic"], {}, Reason.UNKNOWN_CLIENT),
    (["Basic "], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret") + "="], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret")[:-1] + "!"], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret").replace("c", "\xe4")], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret").replace(" ", "\t")], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret").replace(" ", "")], {}, Reason.UNKNOWN_CLIENT),
    ([""], {}, Reason.UNKNOWN_CLIENT),
    ([""], {"client_id": "c"}, Reason.WRONG_AUTH_METHOD),  # an empty header says nothing: as without it
    (["Bearer abc"], {}, Reason.UNKNOWN_CLIENT),
    (["Digest username=c"], {}, Reason.UNKNOWN_CLIENT),
    ([basic("c", "secret"), basic("c", "secret")], {}, Reason.INVALID_REQUEST),
    ([basic("c", "secret"), "Bearer x"], {}, Reason.INVALID_REQUEST),
    ([basic("c", "secret")], body("c"), Reason.INVALID_REQUEST),
    ([basic("c", "secret")], {"client_secret": "secret"}, Reason.INVALID_REQUEST),
    (["Bearer x"], body("c"), Reason.INVALID_REQUEST),
    ([basic("c", "secret")], {"client_id": "other"}, Reason.INVALID_REQUEST),
    ([basic("c", "secret")], {"client_id": "C"}, Reason.INVALID_REQUEST),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "parameters", "client_id"), RECOGNISED)
async def test_recognised(
    authenticator: ClientAuthenticator, headers: list[str], parameters: dict[str, str], client_id: str
) -> None:
    assert (await authenticator.authenticate(asked(*headers), parameters)).client_id == client_id


@pytest.mark.parametrize(("headers", "parameters", "reason"), REFUSED)
async def test_refused(
    authenticator: ClientAuthenticator, headers: list[str], parameters: dict[str, str], reason: Reason
) -> None:
    with pytest.raises(Refused) as caught:
        await authenticator.authenticate(asked(*headers), parameters)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION"])
async def test_a_header_is_found_in_any_case(authenticator: ClientAuthenticator, name: str) -> None:
    request = asked(basic("c", "secret"), name=name)
    assert (await authenticator.authenticate(request, {})).client_id == "c"


@pytest.mark.parametrize(("headers", "parameters", "reason"), REFUSED)
def test_a_401_challenges_and_nothing_else_does(
    authenticator: ClientAuthenticator, headers: list[str], parameters: dict[str, str], reason: Reason
) -> None:
    """RFC 9110 section 11.6.1, RFC 6749 section 5.2."""
    reply = authenticator.refuse(Refused(reason, "A detail.", client_id="c"))
    challenge = ("WWW-Authenticate", 'Basic realm="https://i", charset="UTF-8"')
    assert (reply.status, reply.reason, reply.client_id) == (reason.status, reason, "c")
    assert [field for field in reply.headers if field[0] == "WWW-Authenticate"] == [challenge] * (reply.status == 401)
    assert b"A detail." in reply.body


async def test_nothing_sent_comes_back(authenticator: ClientAuthenticator) -> None:
    canaries = [
        (asked(basic("canary", "canary")), {}),
        (asked(basic("c", "canary")), {}),
        (asked("canary canary"), {}),
        (asked("Basic canary!"), {}),
        (asked(basic("c", "secret")), {"client_id": "canary"}),
        (asked(), body("canary", "canary")),
    ]
    for request, parameters in canaries:
        with pytest.raises(Refused) as caught:
            await authenticator.authenticate(request, parameters)
        assert b"canary" not in repr(authenticator.refuse(caught.value)).encode() + str(caught.value).encode()


async def test_no_more_than_sixteen_wait_for_a_slow_hash_and_one_runs(
    queue: ClientAuthenticator, held: HeldRegistry
) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(
                queue.authenticate(asked()._replace(peer=f"peer {number % 2}"), body("slow", "slow-secret"))
            )
            for number in range(16)
        ]
        await asyncio.sleep(0)
        assert repr(queue) == "<ClientAuthenticator 16 waiting>"
        for parameters in (body("slow", "slow-secret"), body("nobody"), body("c", "wrong")):
            with pytest.raises(Refused) as caught:
                await queue.authenticate(asked(), parameters)
            assert caught.value.reason is Reason.THROTTLED
        held.released.set()
    assert {task.result().client_id for task in waiting} == {"slow"}
    assert held.most == 1
    assert repr(queue) == "<ClientAuthenticator 0 waiting>"


async def test_one_address_does_not_take_every_place(queue: ClientAuthenticator, held: HeldRegistry) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(queue.authenticate(asked(), body("slow", "slow-secret")))
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await queue.authenticate(asked(), body("slow", "slow-secret"))
        assert caught.value.reason is Reason.THROTTLED
        another = group.create_task(queue.authenticate(asked()._replace(peer="another"), body("slow", "slow-secret")))
        await asyncio.sleep(0)
        held.released.set()
    assert another.result().client_id == "slow"


async def test_who_needs_no_slow_hash_does_not_queue(queue: ClientAuthenticator, held: HeldRegistry) -> None:
    held.released.set()
    await queue.authenticate(asked(), body("known", "slow-secret"))
    held.released.clear()
    async with asyncio.TaskGroup() as group:
        for number in range(16):
            from_one = asked()._replace(peer=f"peer {number % 2}")
            group.create_task(queue.authenticate(from_one, body("slow", "slow-secret")))
        await asyncio.sleep(0)
        for parameters in (body("known", "slow-secret"), body("c")):
            client = await queue.authenticate(asked(), parameters)
            assert client.client_id == parameters["client_id"]
        with pytest.raises(Refused) as caught:
            await queue.authenticate(asked(), body("off"))
        assert caught.value.reason is Reason.CLIENT_DISABLED
        held.released.set()


async def test_who_leaves_or_fails_gives_the_place_back(queue: ClientAuthenticator, held: HeldRegistry) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(queue.authenticate(asked(), body("slow", "slow-secret"))) for _ in range(12)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    assert repr(queue) == "<ClientAuthenticator 0 waiting>"
    held.released.set()
    with pytest.raises(Refused):
        await queue.authenticate(asked(), body("nobody"))
    assert repr(queue) == "<ClientAuthenticator 0 waiting>"


async def test_closing_twice_does_no_harm(authenticator: ClientAuthenticator) -> None:
    await authenticator.authenticate(asked(), body("slow", "slow-secret"))
    authenticator._hashes.close()
    authenticator._hashes.close()
    assert (await authenticator.authenticate(asked(), body("c"))).client_id == "c"


FRAGMENTS = st.sampled_from(["Basic", "basic ", " ", "Bearer ", "=", "Yzp4", "c:secret", ":", "%", "\xff", "\t", "é"])
HEADERS = (
    st.text(max_size=20)
    | st.lists(FRAGMENTS, max_size=5).map("".join)
    | st.binary(max_size=20).map(raw)
    | st.builds(basic, st.sampled_from(["c", "%63", "x", ""]), st.sampled_from(["secret", "s%65cret", "%", ""]))
)
PARAMETERS = st.dictionaries(st.sampled_from(["client_id", "client_secret"]), st.sampled_from(["c", "secret", "x"]))


@given(st.lists(HEADERS, max_size=2), PARAMETERS)
def test_any_header_is_recognised_or_refused(headers: list[str], parameters: dict[str, str]) -> None:
    """A client that is recognised has shown its secret, in the one place or in the other."""
    authenticator = ClientAuthenticator(ClientRegistry(FAST, bytes(32)), hashes=SlowHashes("secrets"), realm="i")
    try:
        client = asyncio.run(authenticator.authenticate(asked(*headers), parameters))
    except Refused as refused:
        reason = refused.reason
    else:
        shown = [parameters.get("client_secret", ""), *(base64.b64decode(value[6:]).decode() for value in headers)]
        assert client.client_id == "c"
        assert any(text.endswith(("secret", "s%65cret")) for text in shown)
        return
    assert reason in (
        Reason.UNKNOWN_CLIENT,
        Reason.BAD_CLIENT_SECRET,
        Reason.WRONG_AUTH_METHOD,
        Reason.INVALID_REQUEST,
    )


async def test_a_client_is_known_at_once_unless_a_slow_hash_must_tell(authenticator: ClientAuthenticator) -> None:
    assert isinstance(authenticator.begin(asked(), body("c")), Client)
    with pytest.raises(Refused):
        await authenticator.authenticate(asked(), body("c", "wrong"))
    begun = authenticator.begin(asked(), body("slow", "slow-secret"))
    assert not isinstance(begun, Client)
    assert (await begun).client_id == "slow"
    assert isinstance(authenticator.begin(asked(), body("slow", "slow-secret")), Client)
