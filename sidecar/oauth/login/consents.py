"""The consents that users have given and asked the sidecar to remember."""

import json
from collections.abc import Callable, Iterable

from sidecar.core.digests import digest
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.redirects import assures_identity
from sidecar.core.ports import Store


class Consents:
    """Remembered consents, in the store. `ttl` is in seconds; `ended(username, client_id, since)` says whether a consent that a
    user gave to a client at `since` has been revoked. The methods raise `StoreUnavailable`."""

    def __init__(
        self, store: Store, *, ttl: int, clock: Callable[[], float], ended: Callable[[str, str, float], bool]
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._ended = ended

    async def covers(self, username: str, client: Client, redirect_uri: str, scope: Iterable[str]) -> bool:
        """Whether the user has consented to all of `scope` before."""
        if not may_be_remembered(client, redirect_uri):
            return False
        given = await self._given(username, client)
        return given is not None and given.issuperset(scope)

    async def remember(self, username: str, client: Client, redirect_uri: str, scope: Iterable[str]) -> None:
        """Remember the user's consent to `scope`, in addition to earlier consents."""
        if may_be_remembered(client, redirect_uri):
            given = await self._given(username, client) or frozenset()
            kept = {"scope": sorted(given.union(scope)), "since": self._clock()}
            await self._store.put(_key(username, client), json.dumps(kept), self._ttl)

    async def _given(self, username: str, client: Client) -> frozenset[str] | None:
        text = await self._store.get(_key(username, client))
        if text is None:
            return None
        kept = json.loads(text)
        return None if self._ended(username, client.client_id, kept["since"]) else frozenset(kept["scope"])


def may_be_remembered(client: Client, redirect_uri: str) -> bool:
    """Whether a consent may be remembered. An app on the user's machine can pose as a public client and receive its response;
    where that is possible the user is asked each time (RFC 6749 section 10.2, RFC 8252 section 8.6)."""
    return not client.public or assures_identity(redirect_uri)


def _key(username: str, client: Client) -> str:
    """The store's key. Names may contain any character, so the key is a digest of both names, encoded as JSON."""
    pair = json.dumps([username, client.client_id])
    return f"consent:{digest(pair)}"
