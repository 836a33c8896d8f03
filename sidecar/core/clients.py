"""Who may ask for tokens, and how a client proves who it is.

Rules:
- Unknown client, wrong secret and disabled client look the same to the caller, also in time: every failure costs the
  same number of scrypt runs (none, when no client of the configuration needs one).
- A secret that passed scrypt once is remembered as an HMAC under a key of this process, so that a busy client costs one
  scrypt per process and not one per token.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sidecar.core.reasons import Reason, Refused
from sidecar.core.secrets import SecretHash


class Client(NamedTuple):
    """A registered client (names of RFC 7591); `scope` is all that it may have, in the configured order."""

    client_id: str
    secret: SecretHash
    grant_types: frozenset[str]
    scope: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    disabled: bool = False


class ClientRegistry:
    """The clients by id. `memo_key`: 32 random bytes, of this process alone."""

    def __init__(self, clients: Iterable[Client], memo_key: bytes) -> None:
        self._clients = {client.client_id: client for client in clients}
        self._memo_key = memo_key
        self._memo: dict[str, bytes] = {}
        slow = [client.secret for client in self._clients.values() if client.secret.slow]
        self._decoy = slow[0] if slow else None

    def __repr__(self) -> str:
        return f"<ClientRegistry {len(self._clients)} clients>"

    def knows(self, client_id: str) -> bool:
        """Whether there is such a client."""
        return client_id in self._clients

    def recall(self, client_id: str, secrets: Sequence[str]) -> Client | None:
        """Authenticate without a slow hash; `None`: only `authenticate` can tell. Raises `Refused` as it does."""
        if self._decoy is None:
            return self.authenticate(client_id, secrets)
        client = self._clients.get(client_id)
        if client is None:
            return None
        if client.secret.slow:
            known = self._memo.get(client_id)
            passed = known is not None and any(hmac.compare_digest(known, self._mark(secret)) for secret in secrets)
        else:
            passed = any(map(client.secret.matches, secrets))
        return self._enabled(client) if passed else None

    def authenticate(self, client_id: str, secrets: Sequence[str]) -> Client:
        """The client whose secret is one of `secrets` (two readings of what was sent, at most).

        Takes a slow hash per reading when any client has one. Raises `Refused`: `UNKNOWN_CLIENT`, `BAD_CLIENT_SECRET`,
        `CLIENT_DISABLED`.
        """
        client = self._clients.get(client_id)
        passed = None
        for secret in secrets:
            if client is not None and client.secret.matches(secret):
                passed = secret
                break
            if self._decoy is not None and not (client and client.secret.slow):
                self._decoy.matches(secret)
        if client is None:
            raise Refused(Reason.UNKNOWN_CLIENT)
        if passed is None:
            raise Refused(Reason.BAD_CLIENT_SECRET, client_id=client_id)
        if client.secret.slow:
            self._memo[client_id] = self._mark(passed)
        return self._enabled(client)

    def _mark(self, secret: str) -> bytes:
        return hmac.digest(self._memo_key, secret.encode("utf-8", "surrogatepass"), "sha256")

    @staticmethod
    def _enabled(client: Client) -> Client:
        if client.disabled:
            raise Refused(Reason.CLIENT_DISABLED, client_id=client.client_id)
        return client
