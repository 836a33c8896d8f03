"""The section `tokens`: what is issued and accepted, and the keys that sign."""

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from sidecar.config.sections.model import Model
from sidecar.config.values import Duration, Identifier, Moment, PositiveDuration, at_most, invalid, not_empty, plain
from sidecar.core.jose import keys
from sidecar.core.oauth.issuer import InvalidIssuer, issuer_path

_MAX_ACCESS_TOKEN_TTL = 86400.0
_MAX_REFRESH_TOKEN_TTL = 365 * 86400.0


class SigningKey(Model):
    """One key of the ring (`core.jose.keys`): exactly one of `secret`, `private_key` and `public_key`, as `alg` asks for."""

    kid: Identifier
    alg: Literal["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA"]
    secret: SecretStr | None = None
    private_key: SecretStr | None = None
    public_key: str | None = None
    not_before: Moment | None = None
    not_after: Moment | None = None

    @field_validator("secret")
    @classmethod
    def _strong(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        alg = info.data.get("alg", "")
        if value is None or alg in keys.ASYMMETRIC:  # `_material_fits` has more to say about the second
            return value
        minimum = keys.SECRET_BYTES.get(alg, 32)
        if len(value.get_secret_value().encode()) < minimum:
            raise invalid(f"must be at least {minimum} bytes long; make one with: openssl rand -hex {minimum}")
        _usable_key(keys.SigningKey.hmac, "HS256", value.get_secret_value())
        return value

    @field_validator("private_key")
    @classmethod
    def _private(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("alg") in keys.ASYMMETRIC:
            _usable_key(keys.SigningKey.private, info.data["alg"], value.get_secret_value())
        return value

    @field_validator("public_key")
    @classmethod
    def _public(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("alg") in keys.ASYMMETRIC:
            _usable_key(keys.SigningKey.public, info.data["alg"], value)
        return value

    @model_validator(mode="after")
    def _material_fits(self) -> Self:
        given = [name for name in ("secret", "private_key", "public_key") if getattr(self, name) is not None]
        if self.alg in keys.SYMMETRIC and given != ["secret"]:
            raise invalid(f"{self.alg} needs secret, and nothing else")
        if self.alg in keys.ASYMMETRIC and given not in (["private_key"], ["public_key"]):
            raise invalid(
                f"{self.alg} needs private_key, or public_key for a key that only verifies: exactly one of them"
            )
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise invalid("not_after must be later than not_before")
        return self


def _usable_key(make: Callable[[str, str, str], keys.SigningKey], alg: str, text: str) -> None:
    try:
        make("", alg, text)
    except keys.InvalidKey as exc:
        raise invalid(str(exc)) from None


def _issuer(value: str) -> str:
    try:
        issuer_path(value)
    except InvalidIssuer as exc:
        raise invalid(str(exc)) from None
    return value


class Tokens(Model):
    """What is issued and accepted."""

    issuer: Annotated[str, Field(max_length=512), AfterValidator(plain), AfterValidator(_issuer)]
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    access_token_ttl: Annotated[Duration, at_most(_MAX_ACCESS_TOKEN_TTL, "24h")] = 1800.0
    refresh_token_ttl: Annotated[PositiveDuration, at_most(_MAX_REFRESH_TOKEN_TTL, "365d")] = 14 * 86400.0
    refresh_idle: PositiveDuration = 7 * 86400.0
    refresh_grace: Annotated[Duration, at_most(60, "60s")] = 10.0
    leeway: Annotated[Duration, at_most(30, "30s")] = 0.0
    cache_size: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    signing_keys: Annotated[tuple[SigningKey, ...], Field(strict=False), AfterValidator(not_empty)]

    @field_validator("signing_keys")
    @classmethod
    def _one_can_sign(cls, value: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
        if all(key.public_key is not None for key in value):
            raise invalid("no key can sign: one must have a secret or a private_key")
        return value

    @field_validator("access_token_ttl")
    @classmethod
    def _whole_seconds(cls, value: float) -> float:
        if value < 1 or value != int(value):
            raise invalid("must be a whole number of seconds, at least 1s")  # expires_in is an integer
        return value
