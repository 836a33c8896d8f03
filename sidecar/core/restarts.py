"""When what failed is started again: soon at first, then ever later, and at last not at all.

Rules:
- Failures count *in a row*: a run that lasted `STABLE` seconds begins a new row.
- After the first of a row the pause is `FIRST` seconds, and each further one is `FACTOR` times the one before.
- The failure that makes `MOST` in a row is the last: something is wrong that no restart will cure.
"""

from typing import Final

STABLE: Final = 60.0
FIRST: Final = 0.1
FACTOR: Final = 4
MOST: Final = 5


class Restarts:
    """The failures of one task. `in_a_row` counts them."""

    __slots__ = ("in_a_row",)

    def __init__(self) -> None:
        self.in_a_row = 0

    def __repr__(self) -> str:
        return f"<Restarts {self.in_a_row} failures in a row>"

    def failed(self, lasted: float) -> float | None:
        """Count the failure of a run that lasted so long; gives the seconds to wait before the next, `None` for no more."""
        self.in_a_row = 1 if lasted >= STABLE else self.in_a_row + 1
        return FIRST * FACTOR ** (self.in_a_row - 1) if self.in_a_row < MOST else None
