"""Rate limits as budgets that refill (the generic cell rate algorithm, a token bucket stored as one number).

A rate of `30/1m` allows thirty at once, and one more every two seconds. For each budget, the time at which it will be full
again is stored; after that time it can be dropped.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

_MOST: Final = 50_000
_ROUNDING: Final = 1e-6


class Rate(NamedTuple):
    """At most `burst` (at least 1) in `seconds`."""

    burst: int
    seconds: float

    @property
    def interval(self) -> float:
        """Seconds until the budget has one more."""
        return self.seconds / self.burst


class Budget(NamedTuple):
    """A budget and the key that identifies it in all processes."""

    key: str
    rate: Rate


class Consumed(NamedTuple):
    """Whether one was `taken` from the budget; `wait`, the seconds until the next one can be taken, 0 for at once; and whether
    the budget was full before (`fresh`)."""

    taken: bool
    wait: float
    fresh: bool


def consume(full_at: float, rate: Rate, now: float) -> tuple[Consumed, float]:
    """Take one from a budget that will be full at `full_at`. Returns the result, and when the budget will be full
    afterwards."""
    after = max(full_at, now) + rate.interval
    taken = after - now <= rate.seconds + _ROUNDING
    left = after if taken else full_at
    wait = left + rate.interval - now - rate.seconds
    return Consumed(taken, wait if wait > _ROUNDING else 0.0, full_at <= now), left


class Budgets:
    """The budgets of this process. It keeps at most `most` that are not full, and counts nothing for new ones beyond that:
    clients choose the names, so memory must be bounded."""

    def __init__(self, most: int = _MOST) -> None:
        self._full_at: dict[str, float] = {}
        self._most = most

    def __repr__(self) -> str:
        return f"<Budgets {len(self._full_at)}>"

    def consume(self, budgets: Iterable[Budget], now: float) -> list[Consumed]:
        """Take one from each budget that is not exhausted."""
        results = []
        for key, rate in budgets:
            consumed, full_at = consume(self._full_at.get(key, now), rate, now)
            results.append(consumed)
            if key in self._full_at or self._has_room(now):
                self._full_at[key] = full_at
        return results

    def purge(self, now: float) -> None:
        """Drop the budgets that are full."""
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}

    def _has_room(self, now: float) -> bool:
        if len(self._full_at) >= self._most:
            self.purge(now)
        return len(self._full_at) < self._most
