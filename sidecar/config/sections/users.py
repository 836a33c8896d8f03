"""The section `users`: who may log in."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import Identifier, Role, Scope, invalid
from sidecar.core.oauth.users import InvalidPasswordHash, check_password_hash


class User(Model):
    """Somebody who may log in. Without `scope`, clients get for them what the clients themselves may have."""

    username: Identifier
    password_hash: SecretStr
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    scope: Scope | None = None
    disabled: bool = False

    @field_validator("password_hash")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        try:
            check_password_hash(value.get_secret_value())
        except InvalidPasswordHash as exc:
            raise invalid(str(exc)) from None
        return value
