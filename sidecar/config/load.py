"""Reading the file: resolved, checked whole, every fault reported with its path.

`load(path)` returns `Settings` or raises `SettingsError` with all faults. No fault text contains a configured value, for any
value may be a secret: except that the pattern of a route, which anybody can find out, is shown as it should be.
"""

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.config.checks import cross_faults, items, signing_faults
from sidecar.config.document import read_document
from sidecar.config.faults import Fault, with_name
from sidecar.config.references import placeholder_faults
from sidecar.config.sections.model import Model
from sidecar.config.settings import Settings, Store


class SettingsError(Exception):
    """The file is not usable: `faults` holds every reason."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


def load(path: Path, *, now: float | None = None) -> Settings:
    """Read, resolve and check the file. Raises `SettingsError` with every fault found.

    With `now` (epoch seconds) a key must be able to sign at that time: for who is about to.
    """
    document, faults = read_document(path)
    if document is None:
        raise SettingsError(faults)
    known = {fault.path for fault in faults}
    faults += [fault for fault in placeholder_faults(document) if fault.path not in known]
    known = {fault.path for fault in faults}
    try:
        settings = Settings.model_validate(document, context={"folder": path.parent})
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=True, include_input=False)
        # A value that could not be resolved, or stands for another, was reported already, with the better reason.
        faults += [
            fault for fault in map(_describe, details) if not known & {fault.path, fault.path.removesuffix("[0]")}
        ]
        settings = None
    faults += cross_faults(document)
    if settings is not None and now is not None:
        faults += signing_faults(settings.tokens.signing_keys, now)
    if faults or settings is None:
        raise SettingsError([with_name(fault, _names(document)) for fault in faults])
    settings._path = path  # noqa: SLF001  its own
    return settings


def _names(document: dict[str, Any]) -> dict[str, list[str | None]]:
    """What the entries of each list are called, as far as they have a name."""
    tokens = document.get("tokens")
    lists = {
        "clients": (document.get("clients"), "client_id"),
        "users": (document.get("users"), "username"),
        "tokens.signing_keys": (tokens.get("signing_keys") if isinstance(tokens, dict) else None, "kid"),
    }
    return {where: [_name(entry, key) for entry in items(entries)] for where, (entries, key) in lists.items()}


def _name(entry: object, key: str) -> str | None:
    name = entry.get(key) if isinstance(entry, dict) else None
    return name[:64] if isinstance(name, str) and name.isprintable() else None


def current_store_url(settings: Settings) -> str:
    """The store's address as file and environment say it now: its password may have been changed since. What cannot be read,
    or is another kind of fault, leaves it as it was."""
    before = settings.store.url.get_secret_value()
    if settings._path is None:  # noqa: SLF001  its own
        return before
    document, _ = read_document(settings._path)  # noqa: SLF001  its own
    try:
        return Store.model_validate((document or {}).get("store") or {}).url.get_secret_value()
    except ValidationError:
        return before


def _path_of(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _describe(error: ErrorDetails) -> Fault:
    path = _path_of(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return Fault(path, "unknown key" + _did_you_mean(error["loc"]))
        case "missing":
            return Fault(path, "is required")
        case "string_type":
            return Fault(path, "must be a string; put quotes around a number or a date")
        case "literal_error":
            return Fault(path, f"must be one of {error.get('ctx', {}).get('expected', '')}")
        case "model_type" | "dict_type":
            return Fault(path, "must be a section with keys")
        case "tuple_type" | "list_type":
            return Fault(path, "must be a list")
        case "setting":
            return Fault(path, error["msg"])
        case _:
            return Fault(path, error["msg"][:1].lower() + error["msg"][1:])


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            annotation = str(model.model_fields[part].annotation)
            model = next((m for m in Model.__subclasses__() if re.search(rf"\b{m.__name__}\b", annotation)), Settings)
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(model.model_fields)}"
