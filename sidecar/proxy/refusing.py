"""Turns a refusal into the client's response: reason, challenge, and the owner of the token."""

from functools import lru_cache
from typing import Final

from sidecar.core.events import Decision
from sidecar.core.reasons import Plane, Reason, Refused
from sidecar.core.replies import Reply, refusal
from sidecar.core.tokens import AccessToken
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.rules import RequestRules

_KEPT_OUT: Final = (Plane.PROTECTED, Plane.REQUEST)  # a refusal on these planes means that nothing was forwarded


def refuse(exchange: Exchange, refused: Refused) -> None:
    """Answer a request with a refusal."""
    reason = refused.reason
    if exchange.decision is not Decision.LOCAL and reason.plane in _KEPT_OUT:
        exchange.decision = Decision.REFUSED
    exchange.client_id = refused.client_id or exchange.client_id
    exchange.user = refused.user or exchange.user
    exchange.refuse(reason, refused.detail, *_challenge(reason, refused.detail, exchange.rules.realm))


def reply_to(refused: Refused, rules: RequestRules) -> Reply:
    """A refusal as a reply value instead of a response."""
    headers = _challenge(refused.reason, refused.detail, rules.realm)
    return refusal(refused.reason, refused.detail, *headers, client_id=refused.client_id, user=refused.user)


def refused_token(reason: Reason, token: AccessToken, detail: str | None = None) -> Refused:
    """A refusal that names the owner of the token."""
    return Refused(reason, detail, client_id=token.client_id, user=token.user)


@lru_cache(256)
def _challenge(reason: Reason, detail: str, realm: str) -> tuple[tuple[str, str], ...]:
    """The `WWW-Authenticate` challenge (RFC 6750 section 3), without an error code when no credential was sent; `Allow` for
    405."""
    if reason is Reason.METHOD_NOT_ALLOWED:
        return (("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)
    if reason is Reason.MISSING_TOKEN:
        return (("WWW-Authenticate", f'Bearer realm="{realm}"'),)
    if reason.error not in ("invalid_token", "insufficient_scope") and reason is not Reason.MULTIPLE_TOKENS:
        return ()
    challenge = f'Bearer realm="{realm}", error="{reason.error}", error_description="{detail}"'
    return (("WWW-Authenticate", challenge),)
