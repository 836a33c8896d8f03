"""The counts of the last hour, in buckets of ten seconds, from what the workers have counted since their start.

A worker's counts only grow, so the difference to its last tally belongs to the present bucket. A worker that does not answer
adds its difference later. Memory is bounded: 360 buckets, each with the reasons that occurred.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sidecar.core.reasons import Plane
from sidecar.ops.console.facts import Tally

BUCKET: Final = 10.0  # seconds
BUCKETS: Final = 360
_FAILED: Final = frozenset([Plane.UPSTREAM.value, Plane.SIDECAR.value])
_REQUESTS: Final = "requests"  # beside keys of two words


class Minute(NamedTuple):
    """The counts of a minute that ended `ago` seconds ago: requests in all, and refusals and failures by `plane reason`."""

    ago: float
    requests: int
    reasons: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Requests that the API or the sidecar failed."""
        return sum(count for key, count in self.reasons.items() if is_failure(key))

    @property
    def refused(self) -> int:
        """Requests whose caller was at fault."""
        return sum(self.reasons.values()) - self.failed

    @property
    def answered(self) -> int:
        """The others."""
        return max(0, self.requests - self.refused - self.failed)


class History:
    """`monotonic` gives seconds that never go back."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = monotonic()
        self._last: dict[int, Tally] = {}
        self._numbers: deque[int] = deque(maxlen=BUCKETS)
        self._buckets: deque[Counter[str]] = deque(maxlen=BUCKETS)

    def __repr__(self) -> str:
        return f"<History of {len(self._buckets)} buckets>"

    @property
    def seconds(self) -> float:
        """For how long there has been a history, at most an hour."""
        return min(self._monotonic() - self._began, BUCKET * BUCKETS)

    def add(self, tallies: Mapping[int, Tally]) -> None:
        """Take what the workers have counted, by process id."""
        for pid, tally in tallies.items():
            self._count(self._last.get(pid), tally)
            self._last[pid] = tally

    def ended(self, pid: int | None, tally: Tally | None) -> None:
        """Take the last counts of a worker that has ended, if it gave any, and forget it."""
        before = self._last.pop(pid, None) if pid is not None else None
        if tally is not None:
            self._count(before, tally)

    def _count(self, before: Tally | None, after: Tally) -> None:
        bucket = self._bucket()
        old = before or Tally({}, {})
        bucket[_REQUESTS] += max(0, _total(after.requests) - _total(old.requests))
        for key, count in after.failures.items():
            if (more := count - old.failures.get(key, 0)) > 0:
                bucket[key] += more

    def _bucket(self) -> Counter[str]:
        number = int(self._monotonic() / BUCKET)
        if not self._numbers or self._numbers[-1] != number:
            self._numbers.append(number)
            self._buckets.append(Counter())
        return self._buckets[-1]

    def minutes(self, most: int = 60) -> list[Minute]:
        """The last minutes, the oldest first; the last one is not over yet."""
        each = int(60 / BUCKET)
        now = int(self._monotonic() / BUCKET) // each
        sums = [Counter[str]() for _ in range(most)]
        for number, bucket in zip(self._numbers, self._buckets, strict=True):
            index = most - 1 - (now - number // each)
            if index >= 0:
                sums[index] += bucket
        return [
            Minute((most - 1 - index) * 60.0, counted.pop(_REQUESTS, 0), dict(counted))
            for index, counted in enumerate(sums)
        ]


def _total(requests: Mapping[str, int]) -> int:
    return sum(requests.values())


def is_failure(key: str) -> bool:
    """Whether a `plane reason` is a failure of the API or the sidecar, and not a refusal."""
    return key.partition(" ")[0] in _FAILED
