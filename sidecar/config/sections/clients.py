"""The section `clients`: who may ask for tokens."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sidecar.config.sections.model import Model
from sidecar.config.values import Identifier, Role, Scope, invalid, not_empty
from sidecar.core.jose.client_keys import InvalidClientKey, from_secret, read_jwk, read_pem
from sidecar.core.oauth.clients import PUBLIC, AuthMethod
from sidecar.core.oauth.redirect_uris import redirect_uri_fault
from sidecar.core.oauth.secrets import InvalidSecretHash, parse_secret_hash

_T = TypeVar("_T")


def _secret_hash(value: SecretStr) -> SecretStr:
    try:
        parse_secret_hash(value.get_secret_value())
    except InvalidSecretHash as exc:
        raise invalid(str(exc)) from None
    return value


def _one_or_two(value: tuple[_T, ...]) -> tuple[_T, ...]:
    if len(value) not in (1, 2):
        raise invalid("name one or two: the old one and the new one, while clients move from one to the other")
    if len(set(value)) != len(value):
        raise invalid("name different ones")
    return value


def _pem(value: str) -> str:
    try:
        read_pem(value)
    except InvalidClientKey as exc:
        raise invalid(str(exc)) from None
    return value


def _one_or_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _jwk(value: dict[str, Any]) -> dict[str, Any]:
    try:
        read_jwk(value)
    except InvalidClientKey as exc:
        raise invalid(str(exc)) from None
    return value


def _redirect_uri(value: str) -> str:
    if fault := redirect_uri_fault(value):
        raise invalid(fault)
    return value


def _client_name(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise invalid("use printable characters, with no space around them: it is shown on the consent page")
    return value


SecretHash = Annotated[SecretStr, AfterValidator(_secret_hash)]
Pem = Annotated[str, AfterValidator(_pem)]
Jwk = Annotated[dict[str, Any], AfterValidator(_jwk)]
RedirectUri = Annotated[str, AfterValidator(_redirect_uri)]
GrantType = Literal["client_credentials", "refresh_token", "authorization_code", "implicit"]
_REDIRECTING = frozenset(["authorization_code", "implicit"])


class Jwks(Model):
    """Public keys (RFC 7517 section 5)."""

    keys: Annotated[tuple[Jwk, ...], Field(strict=False), AfterValidator(not_empty)]

    @field_validator("keys")
    @classmethod
    def _told_apart(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        kids = [jwk["kid"] for jwk in value if "kid" in jwk]
        if len(kids) != len(set(kids)):
            raise invalid("give each key a kid of its own")
        return value


class Client(Model):
    """Who may ask for tokens (names of RFC 7591). A field that depends on others stands after them."""

    client_id: Identifier
    client_name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_client_name)] | None = None
    client_secret: SecretStr | None = None
    client_secret_hash: SecretHash | None = None
    client_secret_hashes: Annotated[tuple[SecretHash, ...], Field(strict=False), AfterValidator(_one_or_two)] | None = (
        None
    )
    public_key: (
        Annotated[tuple[Pem, ...], Field(strict=False), BeforeValidator(_one_or_list), AfterValidator(not_empty)] | None
    ) = None
    jwks: Jwks | None = None
    grant_types: Annotated[tuple[GrantType, ...], Field(strict=False)] = ("client_credentials",)
    token_endpoint_auth_method: Annotated[AuthMethod | None, Field(validate_default=True)] = None
    scope: Scope = ()
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    redirect_uris: Annotated[tuple[RedirectUri, ...], Field(strict=False, validate_default=True)] = ()
    introspect: bool = False
    disabled: bool = False

    @field_validator("client_secret")
    @classmethod
    def _present(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise invalid("must not be empty")
        return value

    @field_validator("token_endpoint_auth_method")
    @classmethod
    def _possible(cls, value: AuthMethod | None, info: ValidationInfo) -> AuthMethod | None:
        if all(name in info.data for name in (*_SECRETS, *_KEYS, "grant_types")):
            _check_auth_method(value, info.data)
        return value

    @field_validator("redirect_uris")
    @classmethod
    def _somewhere_to_go(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        redirecting = _REDIRECTING & set(info.data.get("grant_types", ()))
        if redirecting and not value:
            raise invalid(
                f"name at least one for {' and '.join(sorted(redirecting))}, such as https://app.example.com/callback"
            )
        if len(set(value)) != len(value):
            raise invalid("name each only once")
        return value

    @field_validator("introspect")
    @classmethod
    def _authenticated(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic calls it
        if value and info.data.get("token_endpoint_auth_method") == PUBLIC:
            raise invalid("a public client may not ask about tokens (RFC 7662 section 2.1): give it a secret or a key")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        given = [name for name in _SECRETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise invalid(f"give exactly one of {', '.join(_SECRETS)}; client_secret_hashes takes two hashes")
        public = self.token_endpoint_auth_method == PUBLIC
        if not given and not public and self.public_key is None and self.jwks is None:
            raise invalid(
                "give exactly one of client_secret, client_secret_hash and client_secret_hashes; or a public_key or jwks; "
                "or token_endpoint_auth_method: none for an app that can keep no secret"
            )
        return self


_SECRETS = ("client_secret", "client_secret_hash", "client_secret_hashes")
_KEYS = ("public_key", "jwks")


def _check_auth_method(method: AuthMethod | None, client: Mapping[str, Any]) -> None:
    """Raise a fault when a client cannot authenticate by the method that is named, or has what it has no use for."""
    secrets = [name for name in _SECRETS if client[name] is not None]
    keys = [name for name in _KEYS if client[name] is not None]
    match method:
        case "none":
            if secrets or keys:
                raise invalid(f"a public client (none) has no {(secrets + keys)[0]}: drop it, or name another method")
            if "client_credentials" in client["grant_types"]:
                raise invalid(
                    "a public client (none) proves nothing, so it cannot have client_credentials: set grant_types to "
                    "[authorization_code, refresh_token], or give it a secret or a key"
                )
        case "private_key_jwt":
            if not keys:
                raise invalid("private_key_jwt needs the client's public_key or jwks")
            if secrets:
                raise invalid(f"{secrets[0]} has no use with private_key_jwt: drop it, or drop this key")
        case "client_secret_jwt":
            if client["client_secret"] is None:
                raise invalid("client_secret_jwt needs client_secret itself: a hash cannot check an HMAC (RFC 7518)")
            try:
                from_secret(client["client_secret"].get_secret_value())
            except InvalidClientKey as exc:
                raise invalid(f"client_secret {exc}") from None
        case "client_secret_basic" | "client_secret_post" if not secrets:
            raise invalid(f"{method} needs client_secret, client_secret_hash or client_secret_hashes")
    if keys and method not in ("private_key_jwt", "none", None):
        raise invalid(f"{keys[0]} has no use with {method}: drop it, or drop this key")
