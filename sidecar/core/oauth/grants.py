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
"""What tokens are issued for; a label of `sidecar_tokens_issued_total`."""


class Successor(NamedTuple):
    """A refresh token that follows another, and the access token that its family counts on: `jti`, issued `at` (epoch
    seconds)."""

    token: str
    jti: str
    at: float


class Granted(NamedTuple):
    """What a grant gives: whose access token is to be issued to the client that asked, and what it may do.

    `refreshable`: a refresh token goes with it, when the client's `grant_types` name that grant.
    `grant_id` (128 random bits in base64url) names the grant from the outside, so that all that came of it can be ended by
    `Store.end_family(digest(grant_id))`, also when no refresh token goes with it; `seed` is what its first refresh token
    follows from, so that a lost answer can be given again (`core.oauth.refresh_tokens.of_code`), and `jti` the id of
    its access token, if
    that is settled. `since` (epoch seconds) is when the one who grants said so, if that was earlier, such as at a login.
    `successor` is the refresh grant's.
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
    """The grant type, when it is `supported` and the client may use it.

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
    """The scopes asked for, each once; all that the client has when none were. Raises `Refused(INVALID_SCOPE)`."""
    if requested is None:
        return client.scope
    scope = tuple(dict.fromkeys(filter(None, requested.split(" "))))
    if not scope or not set(scope) <= set(client.scope):
        raise Refused(Reason.INVALID_SCOPE, client_id=client.client_id)
    return scope
