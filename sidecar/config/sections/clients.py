"""The section `clients`: the clients that may get tokens."""

from collections.abc import Iterable, Mapping, Set
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from sidecar.config.sections.model import Model, RuledModel, filled
from sidecar.config.values import Identifier, Role, Scope, accepted_by, checked_by, not_empty
from sidecar.core.faults import FieldFault
from sidecar.core.jose.client_keys import InvalidClientKey, read_jwk, read_pem
from sidecar.core.oauth.client_rules import Registration, client_faults
from sidecar.core.oauth.clients import AuthMethod
from sidecar.core.oauth.names import display_name_fault
from sidecar.core.oauth.redirect_uris import redirect_uri_fault
from sidecar.core.oauth.secrets import InvalidSecretHash, parse_secret_hash


def _number_fault(hashes: tuple[SecretStr, ...]) -> str | None:
    if len(hashes) not in (1, 2):
        return "name one or two: the old one and the new one, while clients move from one to the other"
    return "name different ones" if len(set(hashes)) != len(hashes) else None


def _kids_fault(keys: tuple[dict[str, Any], ...]) -> str | None:
    kids = [jwk["kid"] for jwk in keys if "kid" in jwk]
    return "give each key a kid of its own" if len(kids) != len(set(kids)) else None


def _one_or_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


GrantType = Literal["client_credentials", "refresh_token", "authorization_code", "implicit"]
DisplayName = Annotated[str, Field(min_length=1, max_length=200), checked_by(display_name_fault)]
Secret = Annotated[SecretStr, checked_by(lambda text: None if text else "must not be empty")]
SecretHash = Annotated[SecretStr, accepted_by(parse_secret_hash, InvalidSecretHash)]
SecretHashes = Annotated[tuple[SecretHash, ...], Field(strict=False), checked_by(_number_fault)]
Pem = Annotated[str, accepted_by(read_pem, InvalidClientKey)]
Pems = Annotated[tuple[Pem, ...], Field(strict=False), BeforeValidator(_one_or_list), not_empty]
Jwk = Annotated[dict[str, Any], accepted_by(read_jwk, InvalidClientKey)]
RedirectUri = Annotated[str, checked_by(redirect_uri_fault)]


class Jwks(Model):
    """Public keys (RFC 7517 section 5)."""

    keys: Annotated[tuple[Jwk, ...], Field(strict=False), not_empty, checked_by(_kids_fault)]


class Client(RuledModel):
    """A client that may get tokens (names of RFC 7591). `core.oauth.client_rules` decides which fields fit together."""

    client_id: Identifier
    client_name: DisplayName | None = None
    client_secret: Secret | None = None
    client_secret_hash: SecretHash | None = None
    client_secret_hashes: SecretHashes | None = None
    public_key: Pems | None = None
    jwks: Jwks | None = None
    grant_types: Annotated[tuple[GrantType, ...], Field(strict=False)] = ("client_credentials",)
    token_endpoint_auth_method: AuthMethod | None = None
    scope: Scope = ()
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    redirect_uris: Annotated[tuple[RedirectUri, ...], Field(strict=False)] = ()
    introspect: bool = False
    disabled: bool = False

    @classmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        return client_faults(filled(Registration, plain), malformed)
