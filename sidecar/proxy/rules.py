"""Everything that decides about requests, as one immutable value. New rules replace it in a single step of the event loop.

Each request keeps the rules that it began with, so no request sees a mix of old and new. Results that depend on the rules,
such as verified tokens and the shapes of heads, are stored in them and discarded with them.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.core.admission import AdmissionRules
from sidecar.core.http.cross_origin import Sharing
from sidecar.core.http.fields import Kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.core.policy import RoutePolicy
from sidecar.core.replies import Endpoint
from sidecar.core.tokens import TokenRules
from sidecar.proxy.token_cache import TokenCache


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """Where to look for tokens (`bearer`, `header`, `query`, `body`), and up to which body size in bytes."""

    places: Set[str]
    body_limit: int
    any_header: bool
    """Whether a token is accepted in both header fields."""


class HostRules(NamedTuple):
    """The `Host` sent to the API: `default` when the client sent none, `instead` in place of any that it sent."""

    default: bytes
    instead: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestRules:
    """One generation of the rules. `endpoints` are the sidecar's own, by path; `sharing` says what pages of other origins may
    read of them. `cache` and `heads` remember results that depend on these rules."""

    generation: int
    policy: RoutePolicy
    endpoints: Mapping[str, Endpoint]
    sharing: Mapping[str, Sharing]
    tokens: TokenRules
    admission: AdmissionRules
    credentials: CredentialRules
    kinds: Kinds
    host: HostRules
    cache: TokenCache
    heads: PlainHeads

    def __repr__(self) -> str:
        return f"<RequestRules {self.generation}>"

    @property
    def realm(self) -> str:
        """The realm named in challenges (RFC 9110 section 11.5)."""
        return self.tokens.issuer
