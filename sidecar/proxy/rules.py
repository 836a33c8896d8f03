"""Everything that decides about requests, as one immutable value. New rules replace it in a single step of the event loop.

Each request keeps the rules that it began with, so no request sees a mix of old and new. Results that depend on the rules,
such as verified tokens and the routes of targets, are stored in them and discarded with them.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.core.admission import AdmissionRules
from sidecar.core.http.cross_origin import Sharing
from sidecar.core.http.fields import Kinds
from sidecar.core.http.paths import RequestTarget
from sidecar.core.policy import Route, RoutePolicy
from sidecar.core.replies import Endpoint
from sidecar.core.tokens import TokenRules
from sidecar.proxy.token_cache import TokenCache


class CredentialRules(NamedTuple):
    """Where to look for tokens (`bearer`, `header`, `query`, `body`), and up to which body size in bytes."""

    places: Set[str]
    body_limit: int
    any_header: bool
    """Whether a token is accepted in both header fields."""


class HostRules(NamedTuple):
    """The `Host` sent to the API: `default` when the client sent none, `instead` in place of any that it sent."""

    default: bytes
    instead: bytes | None


class Routed(NamedTuple):
    """A request target and the route that applies to it. `line` is the request line to forward; only for a target that is
    just a path over HTTP/1.1."""

    target: RequestTarget
    route: Route
    line: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestRules:
    """One generation of the rules. `endpoints` are the sidecar's own, by path; `sharing` says what pages of other origins may
    read of them. `cache` and `routed` remember results that depend on these rules."""

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
    routed: dict[tuple[str, str], Routed] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<RequestRules {self.generation}>"

    @property
    def realm(self) -> str:
        """The realm named in challenges (RFC 9110 section 11.5)."""
        return self.tokens.issuer
