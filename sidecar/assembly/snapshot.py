"""All the rules for requests, built from the settings as one value."""

from collections.abc import Mapping

from sidecar.assembly.endpoints import endpoints
from sidecar.assembly.keys import admission_rules, token_rules
from sidecar.assembly.living import Living
from sidecar.config import settings as config
from sidecar.core.http.fields import request_kinds
from sidecar.core.http.plain_heads import PlainHeads
from sidecar.core.policy import Access, Route, RoutePolicy
from sidecar.core.replies import Endpoint
from sidecar.proxy.rules import CredentialRules, HostRules, RequestRules
from sidecar.proxy.token_cache import TokenCache
from sidecar.proxy.upstream.connection import UPSTREAM_HOST
from sidecar.proxy.upstream.server import authority_of


def request_rules(settings: config.Settings, living: Living, generation: int) -> RequestRules:
    """One generation of the rules. Building it changes no part that serves requests: a fault in the settings raises here,
    before the rules are swapped."""
    tokens = token_rules(settings.tokens, tapdata=settings.compat == "tapdata")
    admission = admission_rules(settings, tokens.ring)
    ours, shared = endpoints(settings, tokens, admission, living)
    kinds, limits = request_kinds(settings.proxy_headers), settings.limits
    host = HostRules(authority_of(settings.upstream.url[0]), _host_sent(settings.upstream))
    return RequestRules(
        generation=generation,
        policy=route_policy(settings, ours),
        endpoints=ours,
        sharing=shared,
        tokens=tokens,
        admission=admission,
        credentials=_credential_rules(settings.credentials),
        kinds=kinds,
        host=host,
        cache=TokenCache(settings.tokens.cache_size, living.lookups),
        heads=PlainHeads(
            kinds, host=host.instead, line=limits.request_line, size=limits.headers, count=limits.header_count
        ),
    )


def _credential_rules(settings: config.Credentials) -> CredentialRules:
    places = frozenset(settings.places)
    return CredentialRules(places, settings.body_limit, any_header={"bearer", "header"} <= places)


def route_policy(settings: config.Settings, endpoints: Mapping[str, Endpoint]) -> RoutePolicy:
    """The sidecar's own endpoints first, then the configured routes."""
    ours = [Route(path, access=Access.LOCAL) for path in endpoints]
    return RoutePolicy([*ours, *(route.rule for route in settings.routes)])


def _host_sent(upstream: config.Upstream) -> bytes | None:
    """The `Host` that the API gets instead of the client's; `None` keeps the client's."""
    if upstream.host == "keep":
        return None
    return UPSTREAM_HOST if upstream.host == "upstream" else upstream.host.encode()
