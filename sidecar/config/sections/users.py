"""The section `users`: who may log in."""

from typing import Annotated

from pydantic import Field, SecretStr

from sidecar.config.sections.model import Model
from sidecar.config.values import Identifier, Role, Scope, accepted_by
from sidecar.core.oauth.users import InvalidPasswordHash, check_password_hash


class User(Model):
    """A user who may log in. Without `scope`, a client may get every scope of its own for the user."""

    username: Identifier
    """The name that the user enters, and `sub` of the tokens."""
    password_hash: Annotated[SecretStr, accepted_by(check_password_hash, InvalidPasswordHash)]
    """An argon2id hash, as `sidecar hash-password` prints it."""
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    """The roles in tokens for this user, in the place of the client's."""
    scope: Scope | None = None
    """The maximum scope of any client for this user. Default: the scope of the client."""
    disabled: bool = False
    """Whether the user cannot log in, and every session ends."""
