"""Reads and formats moments for the operator."""

from datetime import UTC, datetime
from typing import Any

import click


class Moment(click.ParamType[float]):
    """A parameter that accepts an RFC 3339 time, a date or epoch seconds, and converts it to epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the value. Fails for an invalid moment, and for a time without an offset, because its zone is ambiguous."""
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
    """Format epoch seconds as a date and time of day in UTC. The text does not name the zone."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
