"""Which fields of a client fit together (names of RFC 7591), wherever the client is registered.

The rules work on plain values, as YAML and JSON contain them, and return faults as values. Other modules have checked before
whether each single field is well-formed: `core.oauth.names`, `core.oauth.redirect_uris`, `core.oauth.secrets` and
`core.jose.client_keys`. A rule that needs a malformed field is skipped, so that the operator sees the fault but not its
consequences.

Rules:
- A client authenticates with one secret in one form, with keys, or with both. A public client has neither.
- The named authentication method has what it needs, and nothing that it does not use.
- A public client cannot get tokens for itself (RFC 6749 section 4.4), nor introspect tokens (RFC 7662 section 2.1).
- A grant that redirects the browser needs a redirect URI.
"""

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.faults import FieldFault
from sidecar.core.jose.client_keys import InvalidClientKey, from_secret
from sidecar.core.oauth.clients import AUTH_METHODS, PUBLIC, SECRET_JWT, AuthMethod
from sidecar.core.oauth.grants import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, IMPLICIT

SECRETS: Final = ("client_secret", "client_secret_hash", "client_secret_hashes")
"""The forms of a secret. A client has at most one of them."""
KEYS: Final = ("public_key", "jwks")
"""The forms of a client's keys."""
REDIRECTING: Final = frozenset([AUTHORIZATION_CODE, IMPLICIT])
"""The grants that redirect the browser to the client."""

_OF_THE_METHOD: Final = frozenset(["token_endpoint_auth_method", "grant_types", *SECRETS, *KEYS])
_OF_INTROSPECTION: Final = frozenset(["introspect", "token_endpoint_auth_method"])


@dataclass(frozen=True, slots=True)
class Registration:
    """The fields of a client that depend on each other, as plain values with the defaults of a new client."""

    client_secret: str | None = field(default=None, repr=False)
    client_secret_hash: str | None = field(default=None, repr=False)
    client_secret_hashes: Collection[str] | None = field(default=None, repr=False)
    public_key: str | Collection[str] | None = None
    jwks: Mapping[str, Any] | None = None
    grant_types: Collection[str] = (CLIENT_CREDENTIALS,)
    token_endpoint_auth_method: AuthMethod | None = None
    redirect_uris: Collection[str] = ()
    introspect: bool = False

    @property
    def public(self) -> bool:
        """Whether the client is registered as unable to keep a secret."""
        return self.token_endpoint_auth_method == PUBLIC

    @property
    def secrets(self) -> list[str]:
        """The names of the secret fields that are set."""
        return [name for name in SECRETS if getattr(self, name) is not None]

    @property
    def keys(self) -> list[str]:
        """The names of the key fields that are set."""
        return [name for name in KEYS if getattr(self, name) is not None]


def client_faults(client: Registration, malformed: Collection[str] = ()) -> list[FieldFault]:
    """Every fault of `client`. `malformed` names the fields that are invalid by themselves; `client` has their defaults.

    Missing credentials, or more than one form of a secret, are reported only when there is no other fault.
    """
    faults = list(_field_faults(client, frozenset(malformed)))
    if not faults and not malformed and (text := _credentials_fault(client)):
        faults.append(FieldFault(None, text))
    return faults


def _field_faults(client: Registration, malformed: Set[str]) -> Iterator[FieldFault]:
    method = None if malformed & _OF_THE_METHOD else _method_fault(client)
    if method is not None:
        yield FieldFault("token_endpoint_auth_method", method)
    if "redirect_uris" not in malformed and (text := _redirect_uris_fault(client)):
        yield FieldFault("redirect_uris", text)
    if method is None and not malformed & _OF_INTROSPECTION and client.introspect and client.public:
        text = "a public client may not ask about tokens (RFC 7662 section 2.1): give it a secret or a key"
        yield FieldFault("introspect", text)


def _method_fault(client: Registration) -> str | None:
    method = client.token_endpoint_auth_method
    if method is None:
        return None
    if method not in AUTH_METHODS:
        return f"must be one of {', '.join(AUTH_METHODS)}"
    if method == PUBLIC:
        return _public_fault(client)
    if method == "private_key_jwt":
        return _key_method_fault(client)
    fault = _hmac_fault(client) if method == SECRET_JWT else _secret_method_fault(method, client)
    if fault is None and client.keys:
        return f"{client.keys[0]} has no use with {method}: drop it, or drop this key"
    return fault


def _public_fault(client: Registration) -> str | None:
    if useless := client.secrets + client.keys:
        return f"a public client (none) has no {useless[0]}: drop it, or name another method"
    if CLIENT_CREDENTIALS in client.grant_types:
        return (
            "a public client (none) proves nothing, so it cannot have client_credentials: set grant_types to "
            "[authorization_code, refresh_token], or give it a secret or a key"
        )
    return None


def _key_method_fault(client: Registration) -> str | None:
    if not client.keys:
        return "private_key_jwt needs the client's public_key or jwks"
    if client.secrets:
        return f"{client.secrets[0]} has no use with private_key_jwt: drop it, or drop this key"
    return None


def _hmac_fault(client: Registration) -> str | None:
    if client.client_secret is None:
        return "client_secret_jwt needs client_secret itself: a hash cannot check an HMAC (RFC 7518)"
    try:
        from_secret(client.client_secret)
    except InvalidClientKey as exc:
        return f"client_secret {exc}"
    except UnicodeEncodeError:
        return "client_secret must be text that UTF-8 can hold, for client_secret_jwt"
    return None


def _secret_method_fault(method: AuthMethod, client: Registration) -> str | None:
    return None if client.secrets else f"{method} needs client_secret, client_secret_hash or client_secret_hashes"


def _redirect_uris_fault(client: Registration) -> str | None:
    redirecting = REDIRECTING & set(client.grant_types)
    if redirecting and not client.redirect_uris:
        return f"name at least one for {' and '.join(sorted(redirecting))}, such as https://app.example.com/callback"
    if len(set(client.redirect_uris)) != len(client.redirect_uris):
        return "name each only once"
    return None


def _credentials_fault(client: Registration) -> str | None:
    if len(client.secrets) > 1:
        return f"give exactly one of {', '.join(SECRETS)}; client_secret_hashes takes two hashes"
    if not client.secrets and not client.keys and not client.public:
        return (
            "give exactly one of client_secret, client_secret_hash and client_secret_hashes; or a public_key or jwks; "
            "or token_endpoint_auth_method: none for an app that can keep no secret"
        )
    return None
