"""The settings in force as texts for an operator, without anything secret.

A secret or a hash becomes `HIDDEN`. The store's address is shown without names, passwords and options. A value of a kind that
is not listed here is hidden too, so that a new kind of value shows nothing before somebody has decided what.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sidecar.config.faults import NAMED
from sidecar.config.settings import Settings
from sidecar.config.values import Address, parse_duration, parse_moment, parse_size
from sidecar.core.store_address import StoreAddress, read_store_address
from sidecar.core.throttling import Rate

HIDDEN: Final = "••••••••"
_OFF: Final = "not set"
_MOST_ENTRIES: Final = 50  # of a list, such as clients
_DURATIONS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "B"))
_KEY_MATERIAL: Final = ("public_key", "jwks")  # public, but long


class Value(NamedTuple):
    """A key of the file, such as `clients[reporting].scope`, with its value as text. `changed`: it is not the default."""

    path: str
    text: str
    changed: bool


def masked(settings: Settings) -> Mapping[str, list[Value]]:
    """Each section of the file with its values, in the order of the documentation."""
    return {name: list(_values(name, getattr(settings, name), field)) for name, field in Settings.model_fields.items()}


def masked_store(settings: Settings) -> str:
    """Where the store is, without a name or a password."""
    return _place(read_store_address(settings.store.url.get_secret_value()))


def _values(path: str, value: Any, field: FieldInfo) -> Iterator[Value]:
    if isinstance(value, BaseModel):
        for name, inner in type(value).model_fields.items():
            yield from _values(f"{path}.{name}", getattr(value, name), inner)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        yield from _entries(path, value)
    else:
        yield Value(path, _text(path, value, field), changed=_differs(value, field))


def _entries(path: str, entries: tuple[BaseModel, ...]) -> Iterator[Value]:
    for index, entry in enumerate(entries[:_MOST_ENTRIES]):
        where = f"{path}[{getattr(entry, NAMED[path]) if path in NAMED else index}]"
        yield from (each for each in _values(where, entry, FieldInfo()) if each.changed)
    if len(entries) > _MOST_ENTRIES:
        yield Value(path, f"and {len(entries) - _MOST_ENTRIES} more", changed=True)


def _differs(value: Any, field: FieldInfo) -> bool:
    default = field.get_default(call_default_factory=True, validated_data={})
    return default is PydanticUndefined or bool(value != default)


def _text(path: str, value: Any, field: FieldInfo) -> str:
    if value is None:
        return _OFF
    if path == "store.url":
        return _place(read_store_address(value.get_secret_value()))
    if path.endswith(".on_outage"):
        return "deny" if value == 0 else f"allow_cached: {_in(value, _DURATIONS)}"
    if path.rpartition(".")[2] in _KEY_MATERIAL:
        return "public keys, not shown"
    readers = {getattr(each, "func", None) for each in field.metadata}
    if parse_duration in readers:
        return _in(value, _DURATIONS)
    if parse_size in readers:
        return _in(value, _SIZES)
    if parse_moment in readers:
        return f"{value:.0f} (epoch seconds)"
    return _plain(value)


def _plain(value: Any) -> str:
    """The text of a value whose kind is known to hold no secret."""
    match value:
        case SecretStr():
            return HIDDEN
        case bool():
            return "true" if value else "false"
        case Rate():
            return f"{value.burst}/{_in(value.seconds, _DURATIONS)}"
        case Enum():
            return str(value.value)
        case str() | int() | float() | Path() | Address() | IPv4Network() | IPv6Network():
            return str(value)
        case tuple() | list():
            return ", ".join(map(_plain, value)) or "none"
        case dict():
            return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or "none"
        case _:
            return HIDDEN


def _in(value: float, units: tuple[tuple[int, str], ...]) -> str:
    """A number with the largest unit that divides it, such as `15m`."""
    if value == 0:
        return f"0{units[-1][1]}"
    for size, unit in units:
        if value % size == 0:
            return f"{value // size:.0f}{unit}"
    return f"{value:g}{units[-1][1]}"


def _place(address: StoreAddress) -> str:
    scheme = address.topology.value.replace("redis", "rediss", 1) if address.tls else address.topology.value
    where = address.path or ",".join(map(str, address.hosts))
    service = f"/{address.service}" if address.service else ""
    database = f"/{address.db}" if address.db else ""
    return f"{scheme}://{where}{service}{database}"
