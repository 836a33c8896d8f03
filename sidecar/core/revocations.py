"""The local view of revocations, with which a worker checks a request without asking the store.

Rules:
- A revocation is never withdrawn, so feeding the view is a union. Loading twice, out of order or from a store that lost its
  data can only refuse more.
- The view is *current as of* the last moment for which a feed has verified that nothing was missing. It may be used for
  `max_staleness` seconds after that moment, and not before the first one.
- An entry is dropped once the tokens that it revokes have expired.
- There are two kinds of entries: the id of one token, and a *not-before time*, which revokes everything that was issued up to a
  given second. Both are texts and are distributed in the same way. A not-before entry begins with a space, which no token id
  contains.
- There may be a million entries, and the event loop serves requests meanwhile, so any pass over all of them works in slices,
  and an entry takes less than 100 bytes (`core.entry_table`).
"""

import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Literal, NamedTuple

from sidecar.core.entry_table import EntryTable

NotBeforeKind = Literal["client", "subject", "all"]
NOT_BEFORE_KEPT: Final = 366 * 86400
"""Seconds for which a not-before time is remembered: longer than any token of the sidecar can live."""

_SPOTS: Final = 1024  # so many that in a storm of a thousand revocations a second, an id is looked up once a second
_NOT_BEFORE: Final = re.compile(r" (client|subject|all) ([0-9]{1,15}) (.*)", re.DOTALL)


class NotBefore(NamedTuple):
    """Revokes everything that was issued at or before `before` (epoch seconds): to one client, for one subject, or to all
    (`name` is empty then). Tokens that are issued later in that same second are refused too, because issue times have no
    fractions."""

    kind: NotBeforeKind
    name: str
    before: int

    @property
    def entry(self) -> str:
        """The text of this entry among the revocations."""
        return f" {self.kind} {self.before} {self.name}"

    @classmethod
    def read(cls, entry: str) -> "NotBefore | None":
        """Parse the text of an entry; `None` for a token id."""
        match = _NOT_BEFORE.fullmatch(entry)
        return cls(match[1], match[3], int(match[2])) if match else None  # type: ignore[arg-type]  # one of the three


class RevocationView:
    """Revoked token ids and not-before times, and how current they are. `now` is in epoch seconds, `moment` in monotonic
    seconds.

    `not_before` contains the entries of the not-before times. While it is empty, as usual, callers can skip
    `issued_too_early`. `revisions` has an object for each spot (`spot_of`), which is another one after an id of that spot was
    added: while it is the same, an id that was not in the view is still not in it, and need not be looked up again.
    """

    __slots__ = ("_before", "_confirmed", "_tokens", "max_staleness", "not_before", "revisions")

    def __init__(self, max_staleness: float) -> None:
        self.max_staleness = max_staleness
        self.not_before: dict[str, int] = {}
        self.revisions = [object()] * _SPOTS
        self._tokens = EntryTable()  # token ids, and until when each must be remembered
        self._before: dict[tuple[str, str], int] = {}
        self._confirmed = -math.inf

    def __repr__(self) -> str:
        return f"<RevocationView {len(self._tokens)} revoked, {len(self.not_before)} not-before times>"

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, jti: str) -> bool:
        return jti in self._tokens

    def issued_too_early(self, client_id: str, subject: str, issued: int) -> bool:
        """Whether a not-before time covers what was issued at `issued` (epoch seconds)."""
        return issued <= self._latest(client_id, subject)

    def issue_time(self, client_id: str, subject: str, now: float) -> float:
        """The issue time for a grant at `now`: if a not-before time covers the current second, the next second, else `now`."""
        latest = self._latest(client_id, subject)
        return latest + 1.0 if latest == int(now) else now

    def _latest(self, client_id: str, subject: str) -> int:
        before = self._before
        if not before:
            return -1
        return max(
            before.get(("all", ""), -1), before.get(("client", client_id), -1), before.get(("subject", subject), -1)
        )

    def add(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Add revocations: each a `jti` or the entry of a not-before time, and until when it must be remembered (epoch
        seconds)."""
        tokens, revision = [], object()
        for each in revocations:
            entry, until = each
            not_before = NotBefore.read(entry) if entry[:1] == " " else None
            if not_before is None:
                self.revisions[spot_of(entry)] = revision
                tokens.append(each)
            else:
                self._add_not_before(not_before, entry, until)
        self._tokens.add(tokens)

    def _add_not_before(self, not_before: NotBefore, entry: str, until: int) -> None:
        self.not_before[entry] = max(until, self.not_before.get(entry, -1))
        target = (not_before.kind, not_before.name)
        self._before[target] = max(self._before.get(target, -1), not_before.before)

    def live(self, now: float) -> dict[str, int]:
        """The entries that must still be remembered at `now`."""
        return dict(self._entries(now))

    def slices(self, now: float, size: int) -> Iterator[list[tuple[str, int]]]:
        """The entries of `live` in slices of `size`: first the not-before times, then the token ids in any order. The caller
        may wait between two slices. Entries that are added meanwhile may be missing."""
        entries = self._entries(now)
        while chunk := list(islice(entries, size)):
            yield chunk

    def _entries(self, now: float) -> Iterator[tuple[str, int]]:
        yield from [(entry, until) for entry, until in self.not_before.items() if until > now]
        yield from self._tokens.above(now)

    def purge(self, now: float, at_most: float = math.inf) -> bool:
        """Drop the entries that need not be remembered at `now`, but at most `at_most` token ids (1 or more). Returns False if
        it stopped at that number."""
        if any(until <= now for until in self.not_before.values()):
            kept = [(entry, until) for entry, until in self.not_before.items() if until > now]
            self.not_before, self._before = {}, {}
            self.add(kept)
        return self._tokens.drop(now, at_most)

    def confirm(self, moment: float) -> None:
        """Record that the view contained everything that the store contained at `moment`. `math.inf`: the view is the store."""
        self._confirmed = max(self._confirmed, moment)

    def staleness(self, moment: float) -> float:
        """Seconds since the view was last known to be current; infinite before the first load."""
        return max(0.0, moment - self._confirmed)

    def usable(self, moment: float) -> bool:
        """Whether the view is current enough for a decision at `moment`."""
        return moment - self._confirmed <= self.max_staleness


def spot_of(jti: str) -> int:
    """The index of a token id in `RevocationView.revisions`."""
    return hash(jti) % _SPOTS


def family_end(key: str) -> str:
    """The entry for the end of a family of refresh tokens (`core.oauth.refresh_tokens`), by the family's key. It contains no
    time: a family ends once, and is remembered until none of its tokens can be valid."""
    return f" family 0 {key}"
