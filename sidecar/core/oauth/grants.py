"""What a client may be granted (RFC 6749 sections 3.3 and 4.4)."""

from collections.abc import Container
from typing import Final, NamedTuple

from sidecar.core.oauth.clients import Client
from sidecar.core.reasons import Reason, Refused

CLIENT_CREDENTIALS: Final = "client_credentials"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105  the name of a grant
AUTHORIZATION_CODE: Final = "authorization_code"
IMPLICIT: Final = "implicit"
GRANT_TYPES: Final = frozenset([CLIENT_CREDENTIALS, REFRESH_TOKEN, AUTHORIZATION_CODE, IMPLICIT])
"""The grant types; a label of `sidecar_tokens_issued_total`."""


class Successor(NamedTuple):
    """A refresh token that succeeds another, and the access token that its family has recorded: `jti`, issued `at` (epoch
    seconds)."""

    token: str
    jti: str
    at: float


class Granted(NamedTuple):
    """The result of a grant: for whom an access token is to be issued, and what it allows.

    `refreshable`: a refresh token is issued with it, if the client's `grant_types` include `refresh_token`.
    `grant_id` (128 random bits in base64url) identifies the grant, so that `Store.end_family(digest(grant_id))` can end
    everything that was issued for it, also without a refresh token. `seed` is what its first refresh token is derived from, so
    that a lost response can be repeated (`core.oauth.refresh_tokens.of_code`). `jti` is the id of its access token, if already
    chosen. `since` (epoch seconds) is when the grant was given, if that was earlier, such as at a login. `successor` is set by
    the refresh grant.
    """

    subject: str
    roles: tuple[str, ...]
    scope: tuple[str, ...]
    refreshable: bool = True
    grant_id: str | None = None
    seed: str | None = None
    jti: str | None = None
    since: int | None = None
    successor: Successor | None = None


def check_grant(grant_type: str | None, client: Client, supported: Container[str]) -> str:
    """Return the grant type, if it is `supported` and the client may use it.

    Raises `Refused`: `INVALID_REQUEST`, `UNSUPPORTED_GRANT`, `UNAUTHORIZED_GRANT`.
    """
    if grant_type is None:
        raise Refused(Reason.INVALID_REQUEST, "The parameter grant_type is missing.", client_id=client.client_id)
    if grant_type not in supported:
        raise Refused(Reason.UNSUPPORTED_GRANT, client_id=client.client_id)
    proven = not client.public or grant_type != CLIENT_CREDENTIALS  # RFC 6749 section 4.4: confidential clients only
    if grant_type not in client.grant_types or not proven:
        raise Refused(Reason.UNAUTHORIZED_GRANT, client_id=client.client_id)
    return grant_type


def narrow_scope(client: Client, requested: str | None) -> tuple[str, ...]:
    """The requested scopes without duplicates, or all of the client's if it requests none. Raises `Refused(INVALID_SCOPE)`."""
    if requested is None:
        return client.scope
    scope = tuple(dict.fromkeys(filter(None, requested.split(" "))))
    if not scope or not set(scope) <= set(client.scope):
        raise Refused(Reason.INVALID_SCOPE, client_id=client.client_id)
    return scope
