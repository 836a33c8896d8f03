"""The section `routes`: which requests need which token."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import OnOutage, Scope, checked_by, invalid
from sidecar.core import policy
from sidecar.core.policy import Access
from sidecar.core.route_rules import methods_fault, path_fault, scope_fault


class Route(Model):
    """A rule for paths and methods. The first matching route decides."""

    path: Annotated[str, checked_by(path_fault)]
    """`/a/b` exactly, `/a/*` one segment, `/a/**` with everything below it, `*` for `OPTIONS *`."""
    methods: Annotated[tuple[str, ...], Field(strict=False), checked_by(methods_fault)] | None = None
    """The methods of the rule. Default: all. A rule for GET also applies to HEAD."""
    access: Literal["public", "token", "deny"] = Access.TOKEN.value
    """`public` needs no token, `token` a valid one, `deny` answers 403."""
    scope: Scope = ()
    """The token must have every scope that is named here."""
    on_outage: OnOutage | None = None
    """In the place of `store.on_outage`."""

    @model_validator(mode="after")
    def _scope_fits_access(self) -> Self:
        if (message := scope_fault(self.access, self.scope)) is not None:
            raise invalid(message)
        return self

    @property
    def rule(self) -> policy.Route:
        """The route in the form that `core.policy` uses."""
        methods = frozenset(self.methods) if self.methods else None
        return policy.Route(self.path, methods, Access(self.access), frozenset(self.scope), self.on_outage)
