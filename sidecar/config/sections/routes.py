"""The section `routes`: the rules for paths and methods."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import Scope, invalid, not_empty
from sidecar.core import policy
from sidecar.core.policy import Access, InvalidPattern, compile_pattern


class Route(Model):
    """A rule for paths and methods: the first that matches decides."""

    path: str
    methods: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(not_empty)] | None = None
    access: Literal["public", "token", "deny"] = Access.TOKEN.value
    scope: Scope = ()

    @field_validator("path")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            compile_pattern(value)
        except InvalidPattern as exc:
            raise invalid(str(exc)) from None
        return value

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for method in value or ():
            if not re.fullmatch(r"[A-Z-]+", method):
                raise invalid("write methods in capitals, such as [GET, POST]")
        return value

    @model_validator(mode="after")
    def _scope_needs_token(self) -> Self:
        if self.scope and self.access != Access.TOKEN.value:
            raise invalid(f"scope has no meaning with access: {self.access}")
        return self

    @property
    def rule(self) -> policy.Route:
        """The route as `core.policy` knows it."""
        methods = frozenset(self.methods) if self.methods else None
        return policy.Route(self.path, methods, Access(self.access), frozenset(self.scope))
