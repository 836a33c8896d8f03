"""When a failed task is restarted: after a short pause at first, then after longer ones, and finally not at all.

Rules:
- Consecutive failures are counted. A run that lasted `STABLE` seconds starts a new count.
- After the first failure the pause is `FIRST` seconds. Each further pause is `FACTOR` times the one before.
- After `MOST` consecutive failures the task is not restarted: another restart would not help.
"""

from typing import Final

STABLE: Final = 60.0
FIRST: Final = 0.1
FACTOR: Final = 4
MOST: Final = 5


class Restarts:
    """The consecutive failures of one task, counted by `in_a_row`."""

    __slots__ = ("in_a_row",)

    def __init__(self) -> None:
        self.in_a_row = 0

    def __repr__(self) -> str:
        return f"<Restarts {self.in_a_row} failures in a row>"

    def failed(self, lasted: float) -> float | None:
        """Count a failure after a run of `lasted` seconds. Returns the pause before the restart in seconds; `None` for no
        restart."""
        self.in_a_row = 1 if lasted >= STABLE else self.in_a_row + 1
        return FIRST * FACTOR ** (self.in_a_row - 1) if self.in_a_row < MOST else None
