"""Who may ask for tokens, and how a client proves who it is.

Rules:
- Unknown client, wrong secret, wrong method and disabled client look the same to the caller, also in time: every failure
  costs the same number of hashes of each kind, as many as the client with the most of them needs.
- A secret that passed scrypt once is remembered as an HMAC under a key of this process, so that a busy client costs one
  scrypt per process and not one per token.
- The method is looked at after the secret: to a caller without it a client that may not use the method is like any other.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from sidecar.core.jose.client_keys import ClientKey
from sidecar.core.oauth.secrets import SecretHash
from sidecar.core.reasons import Reason, Refused

AuthMethod = Literal["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
AUTH_METHODS: Final[tuple[AuthMethod, ...]] = get_args(AuthMethod)
"""How a client may prove who it is (names of RFC 7591 section 2 and OpenID Connect Core section 9)."""
PUBLIC: Final[AuthMethod] = "none"
SECRET_JWT: Final = "client_secret_jwt"  # noqa: S105  the name of a method


class Client(NamedTuple):
    """A registered client (names of RFC 7591).

    `scope` is all that it may have, in the configured order. `secrets` are its live secrets, at most two, none for a
    client with keys alone or for a public one; `keys` check its assertions. `token_endpoint_auth_method` is the one way
    in which it may authenticate; without it every way is open for which it has a secret or a key. `introspect`: it may ask
    about tokens (RFC 7662).
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
        """Whether it cannot keep a secret, and so does not authenticate (RFC 6749 section 2.1)."""
        return self.token_endpoint_auth_method == PUBLIC

    @property
    def auth_methods(self) -> tuple[AuthMethod, ...]:
        """How it may prove who it is."""
        if self.token_endpoint_auth_method is not None:
            return (self.token_endpoint_auth_method,)
        by_secret: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post") if self.secrets else ()
        return (*by_secret, "private_key_jwt") if self.keys else by_secret


class Recognised(NamedTuple):
    """A client that has proven who it is; `secret` says by which of its secrets, counted from 1, if it was by one."""

    client: Client
    secret: int | None = None


class _Decoy(NamedTuple):
    """What is run in vain, so that no failure tells how many secrets there are: the costliest hash of its kind, as often as
    the client with the `most` of them needs."""

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
    """The clients by id. `memo_key`: 32 random bytes, of this process alone."""

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
        """The client of this id, disabled or not, who has proven nothing yet."""
        return self._clients.get(client_id)

    def knows(self, client_id: str) -> bool:
        """Whether there is such a client."""
        return client_id in self._clients

    def name(self, claimed: str) -> str | None:
        """The id, if a client has it: anything else may be a secret in the wrong field, and is never said."""
        return claimed if claimed in self._clients else None

    def recall(self, client_id: str, secrets: Sequence[str], method: AuthMethod) -> Recognised | None:
        """Authenticate without a slow hash; `None`: only `authenticate` can tell. Raises `Refused` as it does."""
        if not self._slow:
            return self.authenticate(client_id, secrets, method)
        client = self._clients.get(client_id)
        if client is None:
            return None
        number = self._remembered(client, secrets) or _fast_match(client, secrets)
        return None if number is None else self.admit(client, method, number)

    def authenticate(self, client_id: str, secrets: Sequence[str], method: AuthMethod) -> Recognised:
        """The client whose secret is one of `secrets` (two readings of what was sent, at most).

        Takes as many slow hashes per reading as any client has. Raises `Refused`: `UNKNOWN_CLIENT`, `BAD_CLIENT_SECRET`,
        `WRONG_AUTH_METHOD`, `CLIENT_DISABLED`.
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
        """The client that has shown its secret or signature, unless it may not use this method, or is disabled.

        Raises `Refused`: `WRONG_AUTH_METHOD`, `CLIENT_DISABLED`.
        """
        if method not in client.auth_methods:
            raise Refused(Reason.WRONG_AUTH_METHOD, client_id=client.client_id)
        if client.disabled:
            raise Refused(Reason.CLIENT_DISABLED, client_id=client.client_id)
        return Recognised(client, secret)

    def _match(self, client: Client | None, secret: str) -> int | None:
        """Which of the client's secrets this is, counted from 1; with hashes run in vain to make up the number."""
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
