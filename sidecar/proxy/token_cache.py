"""Caches what was read from tokens, so that each worker verifies the signature of a token only once.

Rules:
- The key is the whole token string. Verification accepts a single canonical spelling, so no other token can match it.
- An entry vouches for the signature and for claims that never change. Expiry, revocation and scope are decided on each
  request (`core.admission`).
- Tokens that are of no use are kept apart, few and small: a flood of them cannot evict good ones. A client that repeats such a
  token costs no more than one with a good token.
- A cache belongs to one generation of rules (`proxy.rules`): rules with other keys have another, empty cache.
- The size is bounded and the oldest entry is evicted first. (An LRU would cost a write per hit; an evicted token is verified
  again.)
"""

from typing import Final

from sidecar.core.admission import VerifiedToken
from sidecar.core.replies import Reply

_MOST_USELESS: Final = 512
_LONGEST_USELESS: Final = 2048


class Lookups:
    """The numbers of hits and misses in the token caches of this worker."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0


class TokenCache:
    """At most `size` verified tokens; `lookups` counts hits and misses."""

    __slots__ = ("_entries", "_size", "_useless", "lookups")

    def __init__(self, size: int, lookups: Lookups) -> None:
        self._size = size
        self._entries: dict[str, VerifiedToken] = {}
        self._useless: dict[str, VerifiedToken | Reply] = {}
        self.lookups = lookups

    def __repr__(self) -> str:
        return f"<TokenCache {len(self)}/{self._size}>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, token: str) -> bool:
        return token in self._entries

    def get(self, token: str) -> VerifiedToken | Reply | None:
        """The entry for exactly this token, whether expired or not; or the reply to a token that can never be used."""
        entry = self._entries.get(token) or self._useless.get(token)
        if entry is None:
            self.lookups.misses += 1
        else:
            self.lookups.hits += 1
        return entry

    def add(self, token: str, entry: VerifiedToken) -> None:
        """Add an entry, and evict the oldest when the cache is full."""
        if self._size == 0:
            return
        self._useless.pop(token, None)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[token] = entry

    def set_aside(self, token: str, entry: VerifiedToken | Reply) -> None:
        """Keep a token that is of no more use, such as an expired one, or the reply to one that never was, apart."""
        self._entries.pop(token, None)
        if self._size == 0 or len(token) > _LONGEST_USELESS:
            return
        if token not in self._useless and len(self._useless) >= _MOST_USELESS:
            del self._useless[next(iter(self._useless))]
        self._useless[token] = entry
