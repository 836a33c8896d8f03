"""What a client may be granted (RFC 6749 sections 3.3 and 4.4)."""

from typing import Final

from sidecar.core.clients import Client
from sidecar.core.reasons import Reason, Refused

CLIENT_CREDENTIALS: Final = "client_credentials"
SUPPORTED: Final = frozenset([CLIENT_CREDENTIALS])


def check_grant(grant_type: str | None, client: Client) -> str:
    """The grant type, when it exists and the client may use it.

    Raises `Refused`: `INVALID_REQUEST`, `UNSUPPORTED_GRANT`, `UNAUTHORIZED_GRANT`.
    """
    if grant_type is None:
        raise Refused(Reason.INVALID_REQUEST, "The parameter grant_type is missing.", client_id=client.client_id)
    if grant_type not in SUPPORTED:
        raise Refused(Reason.UNSUPPORTED_GRANT, client_id=client.client_id)
    if grant_type not in client.grant_types:
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
