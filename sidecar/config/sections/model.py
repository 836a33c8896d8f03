"""The base classes of the models of all sections, and how a section reports faults between its fields.

The validators of a field check whether it is well-formed. Rules of `core` then check what depends on several fields, on plain
values, so that no rule depends on the order of the fields in a model. The faults of the rules are reported together with those
of the fields, each with the path of its field.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Set
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from sidecar.config.values import FAULT, invalid
from sidecar.core.faults import FieldFault

_T = TypeVar("_T")


class Model(BaseModel):
    """A section of the file. It is immutable, unknown keys are faults, and no value is coerced from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class RuledModel(Model):
    """A section whose fields depend on each other, as `_rules` defines."""

    @classmethod
    @abstractmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        """The faults between fields.

        `plain` contains the well-formed fields as in the file: texts, numbers, lists. `malformed` names the others, including
        missing required fields and unknown keys.
        """

    @model_validator(mode="wrap")
    @classmethod
    def _fit_each_other(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping):  # not a section; or a model, which is already validated
            return read(given)
        model, errors = _attempt(read, given)
        malformed = frozenset(str(part) for error in errors for part in error["loc"][:1])
        plain = {name: _plain(value) for name, value in given.items() if name not in malformed}
        faults = cls._rules(plain, malformed)
        # A fault without a field is meaningful only when every field is well-formed.
        errors += [_error(fault, given) for fault in faults if fault.field is not None or not malformed]
        if model is None or errors:
            raise ValidationError.from_exception_data(cls.__name__, sorted(errors, key=cls._position))
        return model

    @classmethod
    def _position(cls, error: InitErrorDetails) -> int:
        """The sort key of an error: in the order of the fields, with unknown keys last."""
        names, at = list(cls.model_fields), error["loc"][:1]
        return names.index(str(at[0])) if at and at[0] in names else len(names)


def filled(kind: type[_T], plain: Mapping[str, Any]) -> _T:
    """A dataclass of `core` with the fields from `plain`, and its own defaults for the others."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # a dataclass
    return kind(**{name: plain[name] for name in names if name in plain})


def _attempt(read: ModelWrapValidatorHandler[_T], given: Any) -> tuple[_T | None, list[InitErrorDetails]]:
    try:
        return read(given), []
    except ValidationError as exc:
        return None, [_again(error) for error in exc.errors(include_url=False)]


def _again(error: ErrorDetails) -> InitErrorDetails:
    kind = invalid(error["msg"]) if error["type"] == FAULT else error["type"]
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


def _error(fault: FieldFault, given: Mapping[str, Any]) -> InitErrorDetails:
    location = () if fault.field is None else (fault.field,)
    return InitErrorDetails(type=invalid(fault.message), loc=location, input=given.get(fault.field or ""))


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
