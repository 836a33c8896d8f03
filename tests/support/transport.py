"""A transport that goes nowhere."""

import asyncio
from typing import Any


class Pipe(asyncio.Transport):
    """Keeps what is `written`; `fate` is what was done to it: `eof`, `closed` and `aborted`. `extra` is its extra info, and
    `unsent` how many bytes its peer has not taken; `largest` is the size of the largest write."""

    def __init__(self, **extra: Any) -> None:
        super().__init__(extra)
        self.written = b""
        self.fate: list[str] = []
        self.reading = True
        self.unsent = self.largest = 0
        self.high_water: int | None = None

    @property
    def ended(self) -> str:
        """What was done to it last."""
        return self.fate[-1] if self.fate else ""

    def write(self, data: Any) -> None:
        self.written += data
        self.largest = max(self.largest, len(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.fate.append("eof")

    def close(self) -> None:
        self.fate.append("closed")

    def abort(self) -> None:
        self.fate.append("aborted")

    def is_closing(self) -> bool:
        return self.ended in ("closed", "aborted")
