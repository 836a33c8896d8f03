"""Converts moments from and to the form for operators."""

from datetime import UTC, datetime
from typing import Any

import click


class Moment(click.ParamType[float]):
    """The type of an option: a time of RFC 3339, a date, or epoch seconds. Its value is epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails for other texts, and for a time without an offset, whose zone is unknown."""
        if isinstance(value, float) or (value.isascii() and value.isdigit()):
            return float(value)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and len(value) == len("2026-11-24"):
            moment = moment.replace(tzinfo=UTC)
        if moment is None or moment.tzinfo is None:
            self.fail("write a time such as 2026-11-24T08:30:00Z, 2026-11-24 (UTC) or 1795509000", param, ctx)
        return moment.timestamp()


def readable(seconds: float) -> str:
    """Epoch seconds as a date and time of day in UTC, without the name of the zone."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
