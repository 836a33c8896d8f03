"""Which entries have surely ended: a clock for forgetting.

The wall clock may be stepped, also by mistake. If it jumps an hour ahead and back, a revocation that was forgotten meanwhile
would be missing for its token, which is valid again. So time for forgetting passes no faster than the monotonic clock. A wall
clock that stays ahead for `BELIEVED_AFTER` seconds is believed: it may have been wrong when the process started.
"""

from collections.abc import Callable
from typing import Final

BELIEVED_AFTER: Final = 7200.0
MOST_AHEAD: Final = 7200.0
"""Seconds by which a clock that was wrong from the start may be ahead of another one, without consequences for what was
revoked. Redis' scripts keep revocations for as long."""


class SurelyPast:
    """Gives the latest moment, in epoch seconds, that has surely passed. `clock` gives epoch seconds, `monotonic` monotonic
    ones."""

    __slots__ = ("_ahead_since", "_clock", "_monotonic", "_offset")

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._offset = clock() - monotonic()
        self._ahead_since: float | None = None  # monotonic seconds

    def __repr__(self) -> str:
        return f"<SurelyPast{' behind the wall clock' if self._ahead_since is not None else ''}>"

    def __call__(self) -> float:
        wall, passed = self._clock(), self._monotonic()
        steady = passed + self._offset
        if wall - steady <= 1.0:
            self._ahead_since = None
            return min(wall, steady)
        if self._ahead_since is None:
            self._ahead_since = passed
        elif passed - self._ahead_since >= BELIEVED_AFTER:
            self._offset, self._ahead_since = wall - passed, None
            return wall
        return steady
