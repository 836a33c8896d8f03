"""How far somebody gets who guesses in parallel."""

import contextlib
import hashlib
from collections.abc import Awaitable

import pytest

from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.secrets import SecretHash, hash_secret, parse_secret_hash
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.core.throttling import Rate
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.clients.throttle import Memory, Rates, Throttle, ThrottledClients
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.stores.memory import MemoryStore


def test_attempts_that_are_not_counted_yet_are_few() -> None:
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    throttle = Throttle("client", Rates(None, None, Rate(30, 60)), memory=Memory(), store=store, monotonic=lambda: 0.0)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            assert throttle.wait("c", "a") == 0
            stack.enter_context(throttle.open("c", "a"))
        assert throttle.stops
        assert throttle.wait("c", "a") == 1
        assert throttle.wait("c", "b") == 0
        assert throttle.wait("d", "a") == 0
    assert throttle.wait("c", "a") == 0
    assert not throttle.stops


async def test_attempts_that_begin_together_see_each_other() -> None:
    """None of them has waited for anything yet: whoever sends many at a time guesses no faster."""
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    throttle = Throttle("client", Rates(None, None, Rate(30, 60)), memory=Memory(), store=store, monotonic=lambda: 0.0)
    known = Client("c", (parse_secret_hash(hash_secret("right", bytes(16), "sha256")),), frozenset())
    inner = ClientAuthenticator(ClientRegistry([known], bytes(32)), hashes=SlowHashes("secrets"), realm="r")
    clients = ThrottledClients(inner, throttle, unguessable=(), requests=None)

    def begin(secret: str) -> Client | Awaitable[Client]:
        request = EndpointRequest("POST", "/", "", (), b"", "10.0.0.1")
        return clients.begin(request, {"client_id": "c", "client_secret": secret})

    assert begin("right") == known
    begun = [begin("wrong") for _ in range(4)]
    for secret in ("wrong", "right"):
        with pytest.raises(Refused) as caught:
            begin(secret)
        assert caught.value.reason is Reason.THROTTLED
    for each in begun:
        assert not isinstance(each, Client)
        with pytest.raises(Refused) as caught:
            await each
        assert caught.value.reason is Reason.BAD_CLIENT_SECRET
    assert not throttle.stops
    assert begin("right") == known


async def test_what_a_slow_hash_refuses_is_counted_once_it_has_told() -> None:
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    throttle = Throttle("client", Rates(None, None, Rate(1, 60)), memory=Memory(), store=store, monotonic=lambda: 0.0)
    digest = hashlib.scrypt(b"right", salt=bytes(16), n=2**10, r=1, p=1, dklen=32)
    known = Client("c", (SecretHash(bytes(16), digest, (10, 1, 1)),), frozenset())
    with contextlib.closing(SlowHashes("secrets")) as hashes:
        inner = ClientAuthenticator(ClientRegistry([known], bytes(32)), hashes=hashes, realm="r")
        clients = ThrottledClients(inner, throttle, unguessable=(), requests=None)
        request = EndpointRequest("POST", "/", "", (), b"", "10.0.0.1")
        for secret, reason in (("wrong", Reason.BAD_CLIENT_SECRET), ("right", Reason.THROTTLED)):
            with pytest.raises(Refused) as caught:
                await clients.authenticate(request, {"client_id": "c", "client_secret": secret})
            assert caught.value.reason is reason
