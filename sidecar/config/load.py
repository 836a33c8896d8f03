"""Reads the file, resolves its references, checks it as a whole, and reports every fault with its path.

`load(path)` returns `Settings` or raises `SettingsError` with all faults. No fault text contains a configured value, because
any value may be a secret. There is one exception: a fault shows the corrected pattern of a route, since any caller can find
out the routes.
"""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidecar.config.checks import cross_faults, signing_faults
from sidecar.config.descriptions import describe
from sidecar.config.document import entries, read_document
from sidecar.config.faults import NAMED, Fault, with_name
from sidecar.config.former_names import with_current_names
from sidecar.config.references import placeholder_faults
from sidecar.config.settings import Settings, Store


class SettingsError(Exception):
    """The file is not usable. `faults` contains every reason."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


def load(path: Path, *, now: float | None = None) -> Settings:
    """Read, resolve and check the file. Raises `SettingsError` with every fault found.

    With `now` (epoch seconds), at least one key must be able to sign at that time. A process that issues tokens needs one.
    """
    document, faults = read_document(path)
    if document is None:
        raise SettingsError(faults)
    document, twice = with_current_names(document)
    faults += twice
    faults += _unless_known(placeholder_faults(document), {fault.path for fault in faults})
    settings, more = _validated(document, path)
    # Unresolved references and placeholders were already reported, with a better reason.
    faults += _unless_known(more, {fault.path for fault in faults})
    faults += cross_faults(document)
    if settings is not None and now is not None:
        faults += signing_faults(settings.tokens.signing_keys, now)
    if faults or settings is None:
        raise SettingsError([with_name(fault, _names(document)) for fault in faults])
    return settings


def current_store_url(settings: Settings) -> str:
    """Return the store's address as the file and the environment give it now. Its password may have changed since the start.

    Return the previous address when the file cannot be read, when its `store` section has a fault, or when it no longer names a
    server: a running process keeps the kind of store that it started with.
    """
    before = settings.store.url.get_secret_value()
    if settings.path is None:
        return before
    document, faults = read_document(settings.path)
    if document is None or any(fault.path.partition(".")[0] == "store" for fault in faults):
        return before
    try:
        store = Store.model_validate(document.get("store") or {})
    except ValidationError:
        return before
    return before if store.in_process else store.url.get_secret_value()


def _validated(document: dict[str, Any], path: Path) -> tuple[Settings | None, list[Fault]]:
    digest = int.from_bytes(hashlib.sha256(repr(document).encode("utf-8", "surrogatepass")).digest()[:6])
    try:
        return Settings.model_validate(document, context={"file": path, "digest": digest}), []
    except ValidationError as exc:
        return None, [describe(error, Settings) for error in exc.errors(include_url=False, include_input=False)]


def _unless_known(faults: list[Fault], known: set[str]) -> list[Fault]:
    return [fault for fault in faults if not known & {fault.path, fault.path.removesuffix("[0]")}]


def _names(document: dict[str, Any]) -> dict[str, list[str | None]]:
    """Return the names of the entries of each list, with `None` for an entry without a name."""
    return {where: [_name(entry, key) for entry in entries(document, where)] for where, key in NAMED.items()}


def _name(entry: object, key: str) -> str | None:
    name = entry.get(key) if isinstance(entry, dict) else None
    return name[:64] if isinstance(name, str) and name.isprintable() else None
