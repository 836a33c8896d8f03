"""The local view of what was revoked: what lets a request be checked without asking the store.

Rules:
- A revocation is never taken back, so feeding the view is a union: loading twice, out of order or from a store that
  lost its data can only refuse more.
- The view is *current as of* the last moment for which a feed has shown that nothing was missing. It may be used for
  `max_staleness` seconds after that moment, and not at all before the first.
- An entry is dropped once what it refuses has expired, for that is refused anyway then.
- There are two kinds of entries: the id of one token, and a *not-before time*, which ends everything that was issued up to a
  second. Both are texts and travel in the same way. A not-before entry begins with a space, which no token id contains.
- There may be a million of them, and the event loop serves requests meanwhile: whatever looks at all of them does so in slices.
"""

import heapq
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Literal, NamedTuple

NotBeforeKind = Literal["client", "subject", "all"]
NOT_BEFORE_KEPT: Final = 366 * 86400
"""Seconds for which a not-before time is remembered: longer than anything that we issue can live."""

_NOT_BEFORE: Final = re.compile(r" (client|subject|all) ([0-9]{1,15}) (.*)", re.DOTALL)


class NotBefore(NamedTuple):
    """The end of all that was issued at or before the second `before` (epoch): to one client, in one subject's name, or at all
    (`name` is empty then). What is issued later in that same second is refused, too: an issue time has no fractions."""

    kind: NotBeforeKind
    name: str
    before: int

    @property
    def entry(self) -> str:
        """The text that stands for it among the revocations."""
        return f" {self.kind} {self.before} {self.name}"

    @classmethod
    def read(cls, entry: str) -> "NotBefore | None":
        """What `entry` wrote; `None` for a token id."""
        match = _NOT_BEFORE.fullmatch(entry)
        return cls(match[1], match[3], int(match[2])) if match else None  # type: ignore[arg-type]  # one of the three


class RevocationView:
    """Revoked token ids and not-before times, and how current they are. Times: `now` in epoch seconds, `moment` in monotonic
    seconds.

    `not_before` holds the entries of the not-before times. While it is empty, which is the usual case, `issued_too_early` need
    not be asked.
    """

    __slots__ = ("_before", "_by_end", "_confirmed", "_ends", "_revoked", "max_staleness", "not_before")

    def __init__(self, max_staleness: float) -> None:
        self.max_staleness = max_staleness
        self.not_before: dict[str, int] = {}
        self._revoked: dict[str, int] = {}
        self._by_end: dict[int, list[str]] = {}  # token ids by their end; also by an earlier one, if they had it
        self._ends: list[int] = []  # a heap of those
        self._before: dict[tuple[str, str], int] = {}
        self._confirmed = -math.inf

    def __repr__(self) -> str:
        return f"<RevocationView {len(self._revoked)} revoked, {len(self.not_before)} not-before times>"

    def __len__(self) -> int:
        return len(self._revoked)

    def __contains__(self, jti: str) -> bool:
        return jti in self._revoked

    def issued_too_early(self, client_id: str, subject: str, issued: int) -> bool:
        """Whether what was issued then (epoch seconds) has ended by a not-before time."""
        return issued <= self._latest(client_id, subject)

    def issue_time(self, client_id: str, subject: str, now: float) -> float:
        """`now`, or the first second that no known not-before time refuses, for what is granted in the same second."""
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
        """Refuse these from now on: `jti` or a not-before time's entry, and the second until which that is to be remembered."""
        for entry, until in revocations:
            not_before = NotBefore.read(entry) if entry[:1] == " " else None
            if not_before is None:
                self._add_token(entry, until)
            else:
                self._add_not_before(not_before, entry, until)

    def _add_token(self, jti: str, until: int) -> None:
        if until > self._revoked.get(jti, -1):
            self._revoked[jti] = until
            if until not in self._by_end:
                self._by_end[until] = []
                heapq.heappush(self._ends, until)
            self._by_end[until].append(jti)

    def _add_not_before(self, not_before: NotBefore, entry: str, until: int) -> None:
        self.not_before[entry] = max(until, self.not_before.get(entry, -1))
        target = (not_before.kind, not_before.name)
        self._before[target] = max(self._before.get(target, -1), not_before.before)

    def live(self, now: float) -> dict[str, int]:
        """The entries that are to be remembered at `now`."""
        return dict(self._entries(now))

    def slices(self, now: float, size: int) -> Iterator[list[tuple[str, int]]]:
        """`live`, so many at a time: not-before times first, then what lasts longest. The caller may wait between two slices.
        What is added meanwhile may be left out."""
        entries = self._entries(now)
        while chunk := list(islice(entries, size)):
            yield chunk

    def _entries(self, now: float) -> Iterator[tuple[str, int]]:
        yield from [(entry, until) for entry, until in self.not_before.items() if until > now]
        for end in sorted((end for end in self._by_end if end > now), reverse=True):
            for jti in self._by_end.get(end, ()):
                if self._revoked.get(jti) == end:
                    yield jti, end

    def purge(self, now: float, at_most: float = math.inf) -> bool:
        """Forget the entries that need not be remembered at `now`; of the token ids `at_most` so many. Whether none is left."""
        if any(until <= now for until in self.not_before.values()):
            kept = [(entry, until) for entry, until in self.not_before.items() if until > now]
            self.not_before, self._before = {}, {}
            self.add(kept)
        while self._ends and self._ends[0] <= now:
            names = self._by_end[self._ends[0]]
            while names and at_most > 0:
                at_most -= 1
                jti = names.pop()
                if self._revoked.get(jti) == self._ends[0]:
                    del self._revoked[jti]
            if names:
                return False
            del self._by_end[heapq.heappop(self._ends)]
        return True

    def confirm(self, moment: float) -> None:
        """The view held everything that the store held at `moment`; `math.inf`: it is the store itself."""
        self._confirmed = max(self._confirmed, moment)

    def staleness(self, moment: float) -> float:
        """Seconds since the view was last known to be current; `inf` before the first load."""
        return max(0.0, moment - self._confirmed)

    def usable(self, moment: float) -> bool:
        """Whether a decision may rest on the view at `moment`."""
        return moment - self._confirmed <= self.max_staleness


def family_end(key: str) -> str:
    """The entry that tells of the end of a family of refresh tokens (`core.oauth.refresh_tokens`), by the family's
    key. It says no time: a family ends once, and is remembered until no token of it could be valid."""
    return f" family 0 {key}"
