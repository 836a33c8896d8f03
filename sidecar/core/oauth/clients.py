"""The registered clients, and how each authenticates.

Rules:
- An unknown client, a wrong secret, a wrong method and a disabled client look the same to the caller, also in timing: every
  failure computes the same number of hashes of each kind, as many as the client with the most of them needs.
- A secret that passed scrypt once is remembered as an HMAC under a key of this process, so that a busy client costs one
  scrypt per process and not one per token.
- The method is checked after the secret: a caller without the secret cannot learn which methods a client may use.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from sidecar.core.jose.client_keys import ClientKey
from sidecar.core.oauth.secrets import SecretHash
from sidecar.core.reasons import Reason, Refused

AuthMethod = Literal["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
AUTH_METHODS: Final[tuple[AuthMethod, ...]] = get_args(AuthMethod)
"""How a client may authenticate (names of RFC 7591 section 2 and OpenID Connect Core section 9)."""
PUBLIC: Final[AuthMethod] = "none"
SECRET_JWT: Final = "client_secret_jwt"  # noqa: S105  the name of a method


class Client(NamedTuple):
    """A registered client (names of RFC 7591).

    `scope` is all that it may have, in the configured order. `secrets` are its live secrets, at most two, and none for a
    public client or one that only has keys. `keys` verify its assertions. `token_endpoint_auth_method` is the only method that
    it may use; without it, the client may use every method for which it has a secret or a key. `introspect`: it may introspect
    tokens (RFC 7662).
    """

    client_id: str
    secrets: tuple[SecretHash, ...]
    grant_types: frozenset[str]
    scope: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    disabled: bool = False
    client_name: str | None = None
    redirect_uris: tuple[str, ...] = ()
    introspect: bool = False
    token_endpoint_auth_method: AuthMethod | None = None
    keys: tuple[ClientKey, ...] = ()

    @property
    def public(self) -> bool:
        """Whether the client cannot keep a secret, and so does not authenticate (RFC 6749 section 2.1)."""
        return self.token_endpoint_auth_method == PUBLIC

    @property
    def auth_methods(self) -> tuple[AuthMethod, ...]:
        """The methods with which the client may authenticate."""
        if self.token_endpoint_auth_method is not None:
            return (self.token_endpoint_auth_method,)
        by_secret: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post") if self.secrets else ()
        return (*by_secret, "private_key_jwt") if self.keys else by_secret


class Recognised(NamedTuple):
    """A client that was authenticated. `secret` is the number, from 1, of the secret that it used, if it used one."""

    client: Client
    secret: int | None = None


class _Decoy(NamedTuple):
    """Hashes computed only to equalise timing, so that a failure does not reveal how many secrets there are: the costliest hash
    of its kind, as often as the client with the `most` of them needs."""

    slow: bool
    hash: SecretHash | None
    most: int

    @classmethod
    def of(cls, clients: Iterable[Client], *, slow: bool) -> "_Decoy":
        found = [[secret for secret in client.secrets if secret.slow is slow] for client in clients]
        costliest = max(
            (secret for each in found for secret in each), key=lambda secret: secret.cost or (), default=None
        )
        return cls(slow, costliest, max(map(len, found), default=0))

    def make_up(self, done: int, secret: str) -> None:
        for _ in range(self.most - done):
            if self.hash is not None:
                self.hash.matches(secret)


class ClientRegistry:
    """The clients by id. `memo_key`: 32 random bytes that only this process has."""

    def __init__(self, clients: Iterable[Client], memo_key: bytes) -> None:
        self._clients = {client.client_id: client for client in clients}
        self._memo_key = memo_key
        self._memo: dict[str, tuple[int, bytes]] = {}
        self._decoys = [_Decoy.of(self._clients.values(), slow=slow) for slow in (True, False)]
        self._slow = self._decoys[0].most > 0

    def __repr__(self) -> str:
        return f"<ClientRegistry {len(self._clients)} clients>"

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients.values())

    def find(self, client_id: str) -> Client | None:
        """The client with this id, disabled or not. It is not authenticated."""
        return self._clients.get(client_id)

    def knows(self, client_id: str) -> bool:
        """Whether there is a client with this id."""
        return client_id in self._clients

    def name(self, claimed: str) -> str | None:
        """The id, if a client has it. Anything else may be a secret in the wrong field, and is never shown."""
        return claimed if claimed in self._clients else None

    def recall(self, client_id: str, secrets: Sequence[str], method: AuthMethod) -> Recognised | None:
        """Authenticate without a slow hash; `None` if that needs `authenticate`. Raises `Refused` as `authenticate` does."""
        if not self._slow:
            return self.authenticate(client_id, secrets, method)
        client = self._clients.get(client_id)
        if client is None:
            return None
        number = self._remembered(client, secrets) or _fast_match(client, secrets)
        return None if number is None else self.admit(client, method, number)

    def authenticate(self, client_id: str, secrets: Sequence[str], method: AuthMethod) -> Recognised:
        """The client, if one of `secrets` is its secret (at most two readings of what was sent).

        A failure computes, per reading, as many slow hashes as the client with the most of them needs. Raises `Refused`:
        `UNKNOWN_CLIENT`, `BAD_CLIENT_SECRET`, `WRONG_AUTH_METHOD`, `CLIENT_DISABLED`.
        """
        client = self._clients.get(client_id)
        for secret in secrets:
            number = self._match(client, secret)
            if client is not None and number is not None:
                if client.secrets[number - 1].slow:
                    self._memo[client_id] = (number, self._fingerprint(secret))
                return self.admit(client, method, number)
        if client is None:
            raise Refused(Reason.UNKNOWN_CLIENT)
        raise Refused(Reason.BAD_CLIENT_SECRET, client_id=client_id)

    @staticmethod
    def admit(client: Client, method: AuthMethod, secret: int | None = None) -> Recognised:
        """Admit a client whose secret or signature was verified, unless it may not use this method or is disabled.

        Raises `Refused`: `WRONG_AUTH_METHOD`, `CLIENT_DISABLED`.
        """
        if method not in client.auth_methods:
            raise Refused(Reason.WRONG_AUTH_METHOD, client_id=client.client_id)
        if client.disabled:
            raise Refused(Reason.CLIENT_DISABLED, client_id=client.client_id)
        return Recognised(client, secret)

    def _match(self, client: Client | None, secret: str) -> int | None:
        """The number, from 1, of the client's secret that matches. A failure always computes the same number of hashes."""
        known = client.secrets if client else ()
        for number, each in enumerate(known, start=1):
            if each.matches(secret):
                return number
        for decoy in self._decoys:
            decoy.make_up(sum(each.slow is decoy.slow for each in known), secret)
        return None

    def _remembered(self, client: Client, secrets: Sequence[str]) -> int | None:
        number, known = self._memo.get(client.client_id, (None, b""))
        if number is None or not any(hmac.compare_digest(known, self._fingerprint(secret)) for secret in secrets):
            return None
        return number

    def _fingerprint(self, secret: str) -> bytes:
        return hmac.digest(self._memo_key, secret.encode("utf-8", "surrogatepass"), "sha256")


def _fast_match(client: Client, secrets: Sequence[str]) -> int | None:
    for number, known in enumerate(client.secrets, start=1):
        if not known.slow and any(map(known.matches, secrets)):
            return number
    return None
