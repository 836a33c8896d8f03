"""What differs between two versions of the settings, and which differences a running process can apply.

A difference is named by its path in the file. Entries of a list are named by their id, as in `clients[reporting]`. No text
contains a configured value, because any value may be a secret.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from sidecar.config.faults import NAMED
from sidecar.config.settings import Settings, Store
from sidecar.core.store_address import StoreAddress, read_store_address

_ONLY_AT_START: Final = frozenset({"listen", "workers", "admin.listen", "logging.format"})
_APPLIED_OF_STORE: Final = frozenset({"on_outage"})
_MOST_NAMES: Final = 20


class Changes(NamedTuple):
    """`settings` are the new ones, except for what can only change at a start; there they have the old values. `applied` and
    `at_restart` name the differences."""

    settings: Settings
    applied: tuple[str, ...]
    at_restart: tuple[str, ...]


def compare(old: Settings, new: Settings) -> Changes:
    """What a process that runs with `old` can apply of `new`."""
    found = list(_differences(old, new, ""))
    at_restart = tuple(text for path, text in found if _is_fixed(path, old, new))
    applied = tuple(text for path, text in found if not _is_fixed(path, old, new))
    logging = new.logging.model_copy(update={"format": old.logging.format})
    kept = {
        "listen": old.listen,
        "workers": old.workers,
        "admin": new.admin.model_copy(update={"listen": old.admin.listen}),
        "store": _store(old.store, new.store),
        "logging": logging,
    }
    return Changes(new.model_copy(update=kept), applied, at_restart)


def _is_fixed(path: str, old: Settings, new: Settings) -> bool:
    section, _, key = path.partition(".")
    if path == "store.url":
        return _place(old.store) != _place(new.store)
    if section == "store":
        return key not in _APPLIED_OF_STORE
    return path in _ONLY_AT_START or section in _ONLY_AT_START


def _store(old: Store, new: Store) -> Store:
    """The new section with the old place and layout. A changed name or password is used for new connections."""
    url = new.url if _place(old) == _place(new) else old.url
    changed = {key: getattr(new, key) for key in _APPLIED_OF_STORE}
    return old.model_copy(update={"url": url, **changed})


def _place(store: Store) -> StoreAddress:
    """The store's address without names and passwords."""
    address = read_store_address(store.url.get_secret_value())
    return replace(address, username="", password="", sentinel_username="", sentinel_password="")


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, str]]:
    """The paths that differ, each with a text about it."""
    if old == new:
        return
    if isinstance(old, BaseModel) and type(old) is type(new):
        for name in type(old).model_fields:
            below = f"{path}.{name}" if path else name
            yield from _differences(getattr(old, name), getattr(new, name), below)
    elif path in NAMED and isinstance(old, tuple) and isinstance(new, tuple):
        yield from ((path, text) for text in _entries(path, old, new))
    else:
        yield path, path


def _entries(path: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[str]:
    """What happened to the entries of a list whose entries have names."""
    before, after = ({getattr(entry, NAMED[path]): entry for entry in entries} for entries in (old, new))
    found = False
    for what, names in (
        ("added", [name for name in after if name not in before]),
        ("removed", [name for name in before if name not in after]),
        ("changed", [name for name in after if name in before and before[name] != after[name]]),
    ):
        if names:
            found = True
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            yield f"{path}: {what} {', '.join(map(str, names[:_MOST_NAMES]))}{more}"
    if not found:
        yield f"{path}: order"
