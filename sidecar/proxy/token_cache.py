"""Tokens that were verified already, so that a signature is checked once per token and worker.

Rules:
- The key is the whole token string; verification accepts one canonical spelling only, so no other token can hit it.
- Only success is kept: a storm of bad tokens cannot push good ones out.
- What an entry promises is the signature and the claims that never change. Expiry, revocation and scope are decided on
  each request (`core.admission`), so an entry never outlives `exp`.
- A cache belongs to one generation of rules (`proxy.rules`): with other keys there is another, empty one.
- Bounded: the oldest entry goes first. (An LRU would cost a write per hit; a token that is pushed out is verified again.)
"""

from sidecar.core.admission import VerifiedToken


class Lookups:
    """How often a token was found in a cache of this worker, and how often not."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0


class TokenCache:
    """At most `size` verified tokens; `lookups` counts."""

    __slots__ = ("_entries", "_size", "lookups")

    def __init__(self, size: int, lookups: Lookups) -> None:
        self._size = size
        self._entries: dict[str, VerifiedToken] = {}
        self.lookups = lookups

    def __repr__(self) -> str:
        return f"<TokenCache {len(self)}/{self._size}>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, token: str) -> bool:
        return token in self._entries

    def get(self, token: str) -> VerifiedToken | None:
        """The entry for exactly this token, expired or not."""
        entry = self._entries.get(token)
        if entry is None:
            self.lookups.misses += 1
        else:
            self.lookups.hits += 1
        return entry

    def add(self, token: str, entry: VerifiedToken) -> None:
        """Keep an entry, dropping the oldest when full."""
        if self._size == 0:
            return
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[token] = entry

    def discard(self, token: str) -> None:
        """Forget a token, for it has expired."""
        self._entries.pop(token, None)
