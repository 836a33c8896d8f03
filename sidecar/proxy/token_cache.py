"""Tokens that were verified already, so that a signature is checked once per token and worker.

Rules:
- The key is the whole token string; verification accepts one canonical spelling only, so no other token can hit it.
- Only success is kept: a storm of bad tokens cannot push good ones out.
- What an entry promises is the signature and the claims that never change. Expiry, revocation and scope are decided on
  each request, so an entry never outlives `exp`. It stands on the keys in force: when those change, `clear`.
- Bounded: the oldest entry goes first. (An LRU would cost a write per hit; a token that is pushed out is verified again.)
"""

from sidecar.core.headers import identity_block
from sidecar.core.tokens import AccessToken


class Verified:
    """A verified token, with what follows from it alone: its scopes as a set and its identity headers as bytes."""

    __slots__ = ("client_id", "exp", "identity", "jti", "scope", "token")

    def __init__(self, token: AccessToken) -> None:
        self.token = token
        self.jti = token.jti
        self.exp = token.exp
        self.client_id = token.client_id
        self.scope = frozenset(token.scope)
        self.identity = identity_block(token.client_id, token.sub, token.scope, token.roles)

    def __repr__(self) -> str:
        return f"<Verified {self.jti} of {self.client_id}>"


class TokenCache:
    """At most `size` verified tokens; `hits` and `misses` count look-ups."""

    __slots__ = ("_entries", "_size", "hits", "misses")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[str, Verified] = {}
        self.hits = 0
        self.misses = 0

    def __repr__(self) -> str:
        return f"<TokenCache {len(self)}/{self._size}>"

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: str) -> Verified | None:
        """The entry for exactly this token, expired or not."""
        entry = self._entries.get(token)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    def add(self, token: str, entry: Verified) -> None:
        """Keep an entry, dropping the oldest when full."""
        if self._size == 0:
            return
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[token] = entry

    def discard(self, token: str) -> None:
        """Forget a token, for it has expired."""
        self._entries.pop(token, None)

    def clear(self) -> None:
        """Forget all tokens, for the keys have changed: each is verified again, against those in force."""
        self._entries.clear()
