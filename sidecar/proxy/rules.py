"""All that requests are decided by, as one value. It is never changed: another one takes its place in one step of the loop.

Each request keeps to the rules that it began with, so none meets half of the old and half of the new. What was found out by
rules lives within them, as the verified tokens and the routes of targets do, and goes when they go.
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
    """Where tokens are looked for (`bearer`, `header`, `query`, `body`), and up to which size of a body, in bytes."""

    places: Set[str]
    body_limit: int
    any_header: bool
    """Whether both headers may hold a token."""


class HostRules(NamedTuple):
    """`Host` for the API: `default` when the client sent none, `instead` of whatever it sent."""

    default: bytes
    instead: bytes | None


class Routed(NamedTuple):
    """A request target, and the route that decides about it. `line` is the request line that goes on, for a target of
    nothing but a path over HTTP/1.1."""

    target: RequestTarget
    route: Route
    line: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestRules:
    """One generation of the rules. `endpoints` are ours, by path, and `sharing` says what pages of other origins may read of
    them. `cache` and `routed` remember what was found out by these rules."""

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
        """What challenges name (RFC 9110 section 11.5)."""
        return self.tokens.issuer
