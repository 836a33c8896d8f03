"""Pydantic's errors as faults of the file: the path as an operator writes it, and what would be right in the file's terms."""

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from sidecar.config.faults import Fault
from sidecar.config.values import FAULT


def describe(error: ErrorDetails, root: type[BaseModel]) -> Fault:
    """The fault for `error`. `root`: the model that was validated."""
    path = _path_of(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return Fault(path, "unknown key" + _did_you_mean(error["loc"], root))
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
        case kind if kind == FAULT:
            return Fault(path, error["msg"])
        case "value_error" | "assertion_error":  # the message of a library, which may quote the value
            return Fault(path, "cannot be read")
        case _:
            return Fault(path, error["msg"][:1].lower() + error["msg"][1:])


def _path_of(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _did_you_mean(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    known = _section(location[:-1], root).model_fields
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _section(location: Iterable[int | str], root: type[BaseModel]) -> type[BaseModel]:
    model = root
    for part in location:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or root
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
