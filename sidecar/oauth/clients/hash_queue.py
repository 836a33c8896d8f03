"""Who may wait for a slow hash: so many in all, and from one address not all of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sidecar.core.reasons import Reason, Refused

_MOST: Final = 16
_MOST_OF_ONE: Final = 12


class HashQueue:
    """Counts places in the queue of one thread."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"{self._waiting.total()} waiting"

    @contextmanager
    def place(self, peer: str, client_id: str | None = None) -> Iterator[None]:
        """Encloses the wait. Raises `Refused(THROTTLED)` when there is no place, or too many have come from `peer`, as
        `client_id`."""
        if self._waiting[peer] >= _MOST_OF_ONE or self._waiting.total() >= _MOST:
            raise Refused(Reason.THROTTLED, client_id=client_id)
        self._waiting[peer] += 1
        try:
            yield
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]
