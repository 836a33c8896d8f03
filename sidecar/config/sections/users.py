"""The section `users`: who may log in."""

from typing import Annotated

from pydantic import Field, SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import Identifier, Role, Scope, accepted_by
from sidecar.core.oauth.users import InvalidPasswordHash, check_password_hash


class User(Model):
    """A user who may log in. Without `scope`, only the scope of the client limits what it gets for the user."""

    username: Identifier
    password_hash: Annotated[SecretStr, accepted_by(check_password_hash, InvalidPasswordHash)]
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    scope: Scope | None = None
    disabled: bool = False
