"""The local view of revoked tokens: what lets a request be checked without asking the store.

Rules:
- A revocation is never taken back, so feeding the view is a union: loading twice, out of order or from a store that
  lost its data can only refuse more.
- The view is *current as of* the last moment for which a feed has shown that nothing was missing. It may be used for
  `max_staleness` seconds after that moment, and not at all before the first.
- An entry is dropped once its token has expired, for the token is refused anyway then.
"""

import math
from collections.abc import Iterable


class RevocationView:
    """Revoked token ids and how current they are. Times: `now` epoch seconds, `moment` monotonic seconds."""

    __slots__ = ("_confirmed", "_revoked", "max_staleness")

    def __init__(self, max_staleness: float) -> None:
        self.max_staleness = max_staleness
        self._revoked: dict[str, int] = {}
        self._confirmed = -math.inf

    def __repr__(self) -> str:
        return f"<RevocationView {len(self._revoked)} revoked>"

    def __len__(self) -> int:
        return len(self._revoked)

    def __contains__(self, jti: str) -> bool:
        return jti in self._revoked

    def add(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Refuse these tokens from now on: `jti` and the second until which that is to be remembered."""
        revoked = self._revoked
        for jti, until in revocations:
            if until > revoked.get(jti, -1):
                revoked[jti] = until

    def live(self, now: float) -> dict[str, int]:
        """The revocations whose tokens have not expired at `now`."""
        return {jti: exp for jti, exp in self._revoked.items() if exp > now}

    def purge(self, now: float) -> None:
        """Forget the revocations whose tokens have expired at `now`."""
        self._revoked = self.live(now)

    def confirm(self, moment: float) -> None:
        """The view held everything that the store held at `moment`; `math.inf`: it is the store itself."""
        self._confirmed = max(self._confirmed, moment)

    def staleness(self, moment: float) -> float:
        """Seconds since the view was last known to be current; `inf` before the first load."""
        return max(0.0, moment - self._confirmed)

    def usable(self, moment: float) -> bool:
        """Whether a decision may rest on the view at `moment`."""
        return moment - self._confirmed <= self.max_staleness
