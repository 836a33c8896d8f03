"""Writes values as they stand in the file: the opposite of the parsers in `config.values`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sidecar.core.throttling import Rate

_DURATIONS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SIZES: Final = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}


def as_in_the_file(kind: str | None, value: Any) -> Any:
    """A default as one writes it in the file: `30m` for 1800.0 seconds."""
    write: Callable[[Any], Any] = _WRITTEN.get(kind or "", lambda same: same)
    return write(value)


def _with_unit(value: float, units: Mapping[str, int]) -> str:
    """With the largest unit that leaves a whole number."""
    for unit, factor in units.items():
        if value and value % factor == 0:
            return f"{value / factor:g}{unit}"
    return f"{value:g}{list(units)[-1]}"


def _rate(rate: Rate | None) -> str:
    return "off" if rate is None else f"{rate.burst}/{_with_unit(rate.seconds, _DURATIONS)}"


_WRITTEN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "duration": lambda seconds: _with_unit(seconds, _DURATIONS),
    "on_outage": lambda seconds: "deny" if not seconds else {"allow_cached": _with_unit(seconds, _DURATIONS)},
    "size": lambda size: _with_unit(size, _SIZES),
    "address": lambda address: f"{address[0]}:{address[1]}",
    "rate": lambda rate: _rate(Rate(*rate) if isinstance(rate, list) else rate),
    "scope": " ".join,
}
