"""Caches verified tokens, so that each worker verifies the signature of a token only once.

Rules:
- The key is the whole token string. Verification accepts a single canonical spelling, so no other token can match it.
- Only successes are cached: a flood of bad tokens cannot evict good ones.
- An entry vouches for the signature and for claims that never change. Expiry, revocation and scope are decided on each
  request (`core.admission`), so an entry never outlives `exp`.
- A cache belongs to one generation of rules (`proxy.rules`): rules with other keys have another, empty cache.
- The size is bounded and the oldest entry is evicted first. (An LRU would cost a write per hit; an evicted token is verified
  again.)
"""

from sidecar.core.admission import VerifiedToken


class Lookups:
    """The numbers of hits and misses in the token caches of this worker."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0


class TokenCache:
    """At most `size` verified tokens; `lookups` counts hits and misses."""

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
        """The entry for exactly this token, whether expired or not."""
        entry = self._entries.get(token)
        if entry is None:
            self.lookups.misses += 1
        else:
            self.lookups.hits += 1
        return entry

    def add(self, token: str, entry: VerifiedToken) -> None:
        """Add an entry, and evict the oldest when the cache is full."""
        if self._size == 0:
            return
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[token] = entry

    def discard(self, token: str) -> None:
        """Remove a token that is of no more use, such as an expired one."""
        self._entries.pop(token, None)
