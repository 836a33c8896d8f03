"""The settings in force as texts for an operator, without anything secret.

A secret or a hash becomes `HIDDEN`. The store's address is shown without names, passwords and options. A value of a kind that
is not listed here is hidden too, so that a new kind of value shows nothing before somebody has decided what.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel, SecretStr, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sidecar.config.faults import NAMED
from sidecar.config.settings import Settings
from sidecar.config.values import KIND, Address
from sidecar.config.written import as_in_the_file
from sidecar.core.store_address import StoreAddress, read_store_address

HIDDEN: Final = "••••••••"
TOP: Final = "top level"
_OFF: Final = "not set"
_MOST_ENTRIES: Final = 50  # of a list, such as clients
_AS_IN_THE_FILE: Final = frozenset(["duration", "size", "rate", "on_outage", "scope"])
_KEY_MATERIAL: Final = ("public_key", "jwks")  # public, but long


class Value(NamedTuple):
    """A key of the file, such as `clients[reporting].scope`, with its value as text. `changed`: it is not the default."""

    path: str
    text: str
    changed: bool


def masked(settings: Settings) -> Mapping[str, list[Value]]:
    """Each section of the file with its values. What is in no section comes first, as `TOP`."""
    sections: dict[str, list[Value]] = {TOP: []}
    for name, field in Settings.model_fields.items():
        for value in _values(name, getattr(settings, name), field):
            sections.setdefault(TOP if value.path == name else name, []).append(value)
    return sections


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
        yield Value(f"{path}[…]", f"and {len(entries) - _MOST_ENTRIES} more", changed=True)


def _differs(value: Any, field: FieldInfo) -> bool:
    default = field.get_default(call_default_factory=True, validated_data={})
    return default is PydanticUndefined or bool(value != default)


def _text(path: str, value: Any, field: FieldInfo) -> str:
    kind = _kind(field)
    if value is None:
        return "off" if kind == "rate" else _OFF
    if path == "store.url":
        return _place(read_store_address(value.get_secret_value()))
    if path.rpartition(".")[2] in _KEY_MATERIAL:
        return "public keys, not shown"
    if kind == "moment":
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return _plain(as_in_the_file(kind, value) if kind in _AS_IN_THE_FILE else value)


def _kind(field: FieldInfo) -> str | None:
    """The kind of a field's values, which says how they stand in the file."""
    return next(_kinds((*field.metadata, field.annotation)), None)


def _kinds(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, WithJsonSchema) and part.json_schema and KIND in part.json_schema:
            yield part.json_schema[KIND]
        else:
            yield from _kinds(get_args(part))


def _plain(value: Any) -> str:
    """The text of a value whose kind is known to hold no secret."""
    match value:
        case SecretStr():
            return HIDDEN
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case Address() | str() | int() | float() | Path() | IPv4Network() | IPv6Network():
            return str(value)
        case tuple() | list():
            return ", ".join(map(_plain, value)) or "none"
        case dict():
            return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or "none"
        case _:
            return HIDDEN


def _place(address: StoreAddress) -> str:
    scheme = address.topology.value.replace("redis", "rediss", 1) if address.tls else address.topology.value
    where = address.path or ",".join(map(str, address.hosts))
    service = f"/{address.service}" if address.service else ""
    database = f"/{address.db}" if address.db else ""
    return f"{scheme}://{where}{service}{database}"
