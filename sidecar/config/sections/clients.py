"""The section `clients`: the clients that may request tokens."""

from collections.abc import Iterable, Mapping, Set
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema

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
Pems = Annotated[
    tuple[Pem, ...],
    Field(strict=False),
    BeforeValidator(_one_or_list),
    not_empty,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
Jwk = Annotated[dict[str, Any], accepted_by(read_jwk, InvalidClientKey)]
RedirectUri = Annotated[str, checked_by(redirect_uri_fault)]


class Jwks(Model):
    """Public keys (RFC 7517 section 5)."""

    keys: Annotated[tuple[Jwk, ...], Field(strict=False), not_empty, checked_by(_kids_fault)]
    """Public keys: RSA of 2048 bits or more, P-256, P-384 or Ed25519."""


class Client(RuledModel):
    """A client that may request tokens (names of RFC 7591). `core.oauth.client_rules` defines which fields fit together."""

    client_id: Identifier
    """The client's name in requests, tokens, logs and metrics."""
    client_name: DisplayName | None = None
    """The name on the consent page. Default: `client_id`."""
    client_secret: Secret | None = None
    """The secret itself. Keep it out of the file with `${file:…}` or `${env:…}`."""
    client_secret_hash: SecretHash | None = None
    """In the place of the secret: its hash, as `sidecar hash-secret` prints it. The file may then be read by others."""
    client_secret_hashes: SecretHashes | None = None
    """Two hashes, while a client changes from an old secret to a new one. Metrics show when each was last used."""
    public_key: Pems | None = None
    """One PEM or a list of them, for a client that authenticates by `private_key_jwt` (RFC 7523)."""
    jwks: Jwks | None = None
    """A JWK set (RFC 7517) for the same purpose. A client may have both."""
    grant_types: Annotated[tuple[GrantType, ...], Field(strict=False)] = ("client_credentials",)
    """How the client may get tokens."""
    token_endpoint_auth_method: AuthMethod | None = None
    """The only way in which the client may authenticate. Without it, every way for which it has a secret or a key,
    except `client_secret_jwt` and `none`."""
    scope: Scope = ()
    """The scope that the client may request, and that it gets when it requests none."""
    roles: Annotated[tuple[Role, ...], Field(strict=False)] = ()
    """The API gets them as `X-Auth-Roles`, separated by commas."""
    redirect_uris: Annotated[tuple[RedirectUri, ...], Field(strict=False)] = ()
    """The addresses to which the sidecar may send a browser back, compared exactly. `authorization_code` and `implicit`
    need them."""
    introspect: bool = False
    """Whether the client may ask about tokens (RFC 7662)."""
    disabled: bool = False
    """Whether the client gets no more tokens, and its existing ones are refused."""

    @classmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        return client_faults(filled(Registration, plain), malformed)
