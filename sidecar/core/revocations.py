"""The local view of what was revoked: what lets a request be checked without asking the store.

Rules:
- A revocation is never taken back, so feeding the view is a union: loading twice, out of order or from a store that
  lost its data can only refuse more.
- The view is *current as of* the last moment for which a feed has shown that nothing was missing. It may be used for
  `max_staleness` seconds after that moment, and not at all before the first.
- An entry is dropped once what it refuses has expired, for that is refused anyway then.
- There are two kinds of entries: the id of one token, and a *cutoff*, which ends all that was issued up to a second. Both are
  texts that travel the same way; a cutoff begins with a space, which no token id holds.
- There may be a million of them, and the event loop serves requests meanwhile: whatever looks at all of them does so in slices.
"""

import heapq
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Literal, NamedTuple

CutoffKind = Literal["client", "subject", "all"]
CUTOFF_KEPT: Final = 366 * 86400
"""Seconds for which a cutoff is remembered: longer than anything that we issue can live."""

_CUTOFF: Final = re.compile(r" (client|subject|all) ([0-9]{1,15}) (.*)", re.DOTALL)


class Cutoff(NamedTuple):
    """The end of all that was issued at or before the second `before` (epoch): to one client, in one subject's name, or at all
    (`name` is empty then). What is issued later in that same second is refused, too: an issue time has no fractions."""

    kind: CutoffKind
    name: str
    before: int

    @property
    def entry(self) -> str:
        """The text that stands for it among the revocations."""
        return f" {self.kind} {self.before} {self.name}"

    @classmethod
    def read(cls, entry: str) -> "Cutoff | None":
        """What `entry` wrote; `None` for a token id."""
        match = _CUTOFF.fullmatch(entry)
        return cls(match[1], match[3], int(match[2])) if match else None  # type: ignore[arg-type]  # one of the three


class RevocationView:
    """Revoked token ids and cutoffs, and how current they are. Times: `now` epoch seconds, `moment` monotonic seconds.

    `cutoffs` holds the entries of the cutoffs: while it is empty, which is the usual case, `cut_off` need not be asked.
    """

    __slots__ = ("_before", "_by_end", "_confirmed", "_ends", "_revoked", "cutoffs", "max_staleness")

    def __init__(self, max_staleness: float) -> None:
        self.max_staleness = max_staleness
        self.cutoffs: dict[str, int] = {}
        self._revoked: dict[str, int] = {}
        self._by_end: dict[int, list[str]] = {}  # token ids by their end; also by an earlier one, if they had it
        self._ends: list[int] = []  # a heap of those
        self._before: dict[tuple[str, str], int] = {}
        self._confirmed = -math.inf

    def __repr__(self) -> str:
        return f"<RevocationView {len(self._revoked)} revoked, {len(self.cutoffs)} cutoffs>"

    def __len__(self) -> int:
        return len(self._revoked)

    def __contains__(self, jti: str) -> bool:
        return jti in self._revoked

    def cut_off(self, client_id: str, subject: str, issued: int) -> bool:
        """Whether what was issued then (epoch seconds) has ended by a cutoff."""
        return issued <= self._latest(client_id, subject)

    def issue_time(self, client_id: str, subject: str, now: float) -> float:
        """`now`, or the first second that no cutoff known here refuses: for what is granted after it, in the same second."""
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
        """Refuse these from now on: `jti` or a cutoff's entry, and the second until which that is to be remembered."""
        for entry, until in revocations:
            cutoff = Cutoff.read(entry) if entry[:1] == " " else None
            if cutoff is None:
                self._add_token(entry, until)
            else:
                self._add_cutoff(cutoff, entry, until)

    def _add_token(self, jti: str, until: int) -> None:
        if until > self._revoked.get(jti, -1):
            self._revoked[jti] = until
            if until not in self._by_end:
                self._by_end[until] = []
                heapq.heappush(self._ends, until)
            self._by_end[until].append(jti)

    def _add_cutoff(self, cutoff: Cutoff, entry: str, until: int) -> None:
        self.cutoffs[entry] = max(until, self.cutoffs.get(entry, -1))
        whose = (cutoff.kind, cutoff.name)
        self._before[whose] = max(self._before.get(whose, -1), cutoff.before)

    def live(self, now: float) -> dict[str, int]:
        """The entries that are to be remembered at `now`."""
        return dict(self._entries(now))

    def slices(self, now: float, size: int) -> Iterator[list[tuple[str, int]]]:
        """`live`, so many at a time: cutoffs first, then what lasts longest. The caller may wait between two slices; what is
        added meanwhile may be left out."""
        entries = self._entries(now)
        while chunk := list(islice(entries, size)):
            yield chunk

    def _entries(self, now: float) -> Iterator[tuple[str, int]]:
        yield from [(entry, until) for entry, until in self.cutoffs.items() if until > now]
        for end in sorted((end for end in self._by_end if end > now), reverse=True):
            for jti in self._by_end.get(end, ()):
                if self._revoked.get(jti) == end:
                    yield jti, end

    def purge(self, now: float, at_most: float = math.inf) -> bool:
        """Forget the entries that need not be remembered at `now`; of the token ids `at_most` so many. Whether none is left."""
        if any(until <= now for until in self.cutoffs.values()):
            kept = [(entry, until) for entry, until in self.cutoffs.items() if until > now]
            self.cutoffs, self._before = {}, {}
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
