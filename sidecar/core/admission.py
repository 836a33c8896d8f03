"""The admission rule: whether a verified access token may be used for a route, now. This is its only implementation.

Everything that decides about a token calls `objection`: the first request with the token, every request that repeats a header
section, a request with the token in its body, a stream that has been open for an hour, and the introspection endpoint. A caller
may cache what it *read* (the token, the headers), but never what was *decided*. The rule itself remembers one thing: the
revision at which a view did not contain a token. It looks again as soon as the view has another revision for that token.

Signature, issuer, audience and types are checked when a token is verified (`core.tokens`), once per token and set of keys.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from sidecar.core.http.forwarded import identity_block
from sidecar.core.policy import Route
from sidecar.core.reasons import Reason
from sidecar.core.revocations import RevocationView, spot_of
from sidecar.core.tokens import AccessToken

# In Python 3.11, each access to a member of an enumeration calls a function.
_EXPIRED: Final = Reason.EXPIRED
_UNKNOWN_KEY: Final = Reason.UNKNOWN_KEY
_CLIENT_DISABLED: Final = Reason.PROTECTED_CLIENT_DISABLED
_REVOKED: Final = Reason.REVOKED
_STORE_UNAVAILABLE: Final = Reason.STORE_UNAVAILABLE
_INSUFFICIENT_SCOPE: Final = Reason.INSUFFICIENT_SCOPE


class VerifiedToken:
    """The claims of a token whose signature is valid, and what is derived from them alone: the scopes as a set, and the header
    fields that tell the API who called. Times are in epoch seconds. `spot` and `looked_up` are for `objection`: the index of
    the token among the revisions of a view of revocations, and the revision at which the view did not contain it."""

    __slots__ = ("client_id", "exp", "iat", "identity", "jti", "kid", "looked_up", "scope", "spot", "sub", "token")

    def __init__(self, token: AccessToken) -> None:
        self.token = token
        self.jti = token.jti
        self.exp = token.exp
        self.iat = token.iat
        self.sub = token.sub
        self.kid = token.kid
        self.spot = spot_of(token.jti)
        self.looked_up: object = None
        self.client_id = token.client_id
        self.scope = frozenset(token.scope)
        self.identity = identity_block(token.client_id, token.sub, token.scope, token.roles)

    def __repr__(self) -> str:
        return f"<VerifiedToken {self.jti} of {self.client_id}>"


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """The operator's settings. `leeway` in seconds; `kids`: the ids of the keys in force; `disabled`: the ids of clients whose
    tokens are refused; `outage`: for how many seconds the last known revocations suffice while the store does not answer, for
    routes that do not say."""

    leeway: float
    kids: Set[str]
    disabled: Set[str]
    outage: float = 0.0


def objection(
    token: VerifiedToken, route: Route | None, rules: AdmissionRules, view: RevocationView, now: float, moment: float
) -> Reason | None:
    """Why `token` may not be used for `route`, or `None` if it may. Without a route, why it may not be used at all.

    `now` is in epoch seconds, `moment` the same instant in monotonic seconds. A fault of the token takes precedence over
    `STORE_UNAVAILABLE`, which means that the sidecar cannot tell whether the token was revoked.
    """
    if now >= token.exp + rules.leeway:
        return _EXPIRED
    if token.kid not in rules.kids:
        return _UNKNOWN_KEY
    if token.client_id in rules.disabled:
        return _CLIENT_DISABLED
    revision = view.revisions[token.spot]
    if token.looked_up is not revision:  # a lookup takes a microsecond, and seldom has another result than the last one
        if token.jti in view:
            return _REVOKED
        token.looked_up = revision
    if view.not_before and view.issued_too_early(token.client_id, token.sub, token.iat):
        return _REVOKED
    if route is not None and not route.scope <= token.scope:
        return _INSUFFICIENT_SCOPE
    return None if view.usable(moment) or knows_enough(route, rules, view, moment) else _STORE_UNAVAILABLE


def knows_enough(route: Route | None, rules: AdmissionRules, view: RevocationView, moment: float) -> bool:
    """Whether the last known revocations suffice at `moment` (monotonic seconds): the view is usable, or no older than the
    operator allows. A view that was never complete does not suffice."""
    outage = rules.outage if route is None or route.outage is None else route.outage
    return view.staleness(moment) <= max(view.max_staleness, outage)
