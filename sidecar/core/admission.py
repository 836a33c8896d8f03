"""The admission rule: whether a verified access token may be used for a route, now. It stands here and nowhere else.

Everything that decides about a token calls `objection`: the first request that brings it, every request that repeats a head,
a request with the token in its body, a stream that has been flowing for an hour, and the introspection endpoint. A caller may
remember what it *read* (the token, the headers); what was *decided* is never remembered.

Signature, issuer, audience and types are settled when a token is verified (`core.tokens`), once per token and set of keys.
"""

from collections.abc import Set
from typing import Final, NamedTuple

from sidecar.core.http.forwarded import identity_block
from sidecar.core.policy import Route
from sidecar.core.reasons import Reason
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken

# In Python 3.11 a member of an enumeration is looked up by a function, each time.
_EXPIRED: Final = Reason.EXPIRED
_UNKNOWN_KEY: Final = Reason.UNKNOWN_KEY
_CLIENT_DISABLED: Final = Reason.PROTECTED_CLIENT_DISABLED
_REVOKED: Final = Reason.REVOKED
_STORE_UNAVAILABLE: Final = Reason.STORE_UNAVAILABLE
_INSUFFICIENT_SCOPE: Final = Reason.INSUFFICIENT_SCOPE


class VerifiedToken:
    """What was read from a token whose signature is good, and what follows from that alone: its scopes as a set, and the
    header fields that tell the API who called. Times are epoch seconds."""

    __slots__ = ("client_id", "exp", "iat", "identity", "jti", "kid", "scope", "sub", "token")

    def __init__(self, token: AccessToken) -> None:
        self.token = token
        self.jti = token.jti
        self.exp = token.exp
        self.iat = token.iat
        self.sub = token.sub
        self.kid = token.kid
        self.client_id = token.client_id
        self.scope = frozenset(token.scope)
        self.identity = identity_block(token.client_id, token.sub, token.scope, token.roles)

    def __repr__(self) -> str:
        return f"<VerifiedToken {self.jti} of {self.client_id}>"


class AdmissionRules(NamedTuple):
    """What the operator has settled. `leeway` in seconds; `kids`: the keys in force; `disabled`: ids of clients whose tokens
    are refused."""

    leeway: float
    kids: Set[str]
    disabled: Set[str]


def objection(
    token: VerifiedToken, route: Route | None, rules: AdmissionRules, view: RevocationView, now: float, moment: float
) -> Reason | None:
    """Why `token` may not be used for `route`, or `None` when it may; without a route, whether it is good at all.

    `now` is epoch seconds, `moment` the same instant in monotonic seconds. What is wrong with the token comes before
    `STORE_UNAVAILABLE`, which says that it cannot be known whether the token was revoked.
    """
    if now >= token.exp + rules.leeway:
        return _EXPIRED
    if token.kid not in rules.kids:
        return _UNKNOWN_KEY
    if token.client_id in rules.disabled:
        return _CLIENT_DISABLED
    if token.jti in view or (view.not_before and view.issued_too_early(token.client_id, token.sub, token.iat)):
        return _REVOKED
    if route is not None and not route.scope <= token.scope:
        return _INSUFFICIENT_SCOPE
    return None if view.usable(moment) else _STORE_UNAVAILABLE
