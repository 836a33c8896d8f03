"""The endpoints for clients, and the documents that describe them."""

import math
from collections.abc import Container, Iterable, Mapping

from sidecar.assembly.clients import authenticator, client_registry, throttle
from sidecar.assembly.keys import successor_keys
from sidecar.assembly.living import Living, new_id
from sidecar.assembly.people import people
from sidecar.config import settings as config
from sidecar.core.admission import AdmissionRules
from sidecar.core.http.cross_origin import Sharing, page_origins
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, REFRESH_TOKEN
from sidecar.core.oauth.issuer import issuer_path
from sidecar.core.replies import Endpoint
from sidecar.core.tokens import TokenRules
from sidecar.oauth.clients.throttle import ThrottledLogins
from sidecar.oauth.endpoints.introspect import IntrospectEndpoint
from sidecar.oauth.endpoints.metadata import PublicDocument, capabilities, jwks, metadata
from sidecar.oauth.endpoints.revoke import RevokeEndpoint
from sidecar.oauth.endpoints.token import Grant, TokenEndpoint, client_credentials
from sidecar.oauth.grants.refresh_token import RefreshTimes, RefreshTokens

Served = tuple[dict[str, Endpoint], dict[str, Sharing]]
"""The endpoints by path, and which pages of other origins may read their responses."""


def endpoints(settings: config.Settings, rules: TokenRules, admission: AdmissionRules, living: Living) -> Served:
    """All endpoints of the sidecar, at every path where it serves them."""
    registry = client_registry(settings.clients)
    clients = authenticator(settings, registry, living)
    browser = people(settings, registry, rules, living, ThrottledLogins(throttle(settings.throttling, "user", living)))
    keys = successor_keys(settings.tokens)
    refresh = RefreshTokens(
        store=living.store,
        rules=rules,
        times=_refresh_times(settings.tokens),
        find_user=browser.users.find,
        keys=lambda: keys,
        emit=living.emit,
        clock=living.clock,
        new_id=new_id,
    )
    grants: dict[str, Grant] = {
        CLIENT_CREDENTIALS: client_credentials,
        REFRESH_TOKEN: refresh,
        AUTHORIZATION_CODE: browser.codes,
    }
    token = TokenEndpoint(
        authenticator=clients,
        grants=grants,
        refresh=refresh,
        rules=rules,
        view=living.view,
        emit=living.emit,
        clock=living.clock,
        new_id=new_id,
    )
    revoke = RevokeEndpoint(
        authenticator=clients,
        rules=rules,
        store=living.store,
        keys=lambda: keys,
        emit=living.emit,
        clock=living.clock,
    )
    introspect = IntrospectEndpoint(
        authenticator=clients,
        clients=registry,
        rules=rules,
        admission=admission,
        store=living.store,
        view=living.view,
        clock=living.clock,
        monotonic=living.monotonic,
    )
    ours: dict[str, Endpoint] = {
        **browser.endpoints,
        endpoint_paths.TOKEN: token,
        endpoint_paths.REVOKE: revoke,
        endpoint_paths.INTROSPECT: introspect,
    }
    served = with_metadata(ours, rules, registry, grants)
    return served, sharing(served, registry)


def _refresh_times(tokens: config.Tokens) -> RefreshTimes:
    ttl, idle = math.ceil(tokens.refresh_token_ttl), math.ceil(tokens.refresh_idle)
    return RefreshTimes(ttl, idle, tokens.refresh_grace > 0)


def with_metadata(
    endpoints: Mapping[str, Endpoint], rules: TokenRules, clients: Iterable[Client], grant_types: Container[str]
) -> dict[str, Endpoint]:
    """The endpoints, with the documents that describe them. An issuer that is not a URL has a key set, but no metadata. For an
    issuer with a path, the endpoints are served below that path as well."""
    ours: dict[str, Endpoint] = {**endpoints, endpoint_paths.JWKS: PublicDocument(jwks(rules.ring))}
    path = issuer_path(rules.issuer)
    if path is None:
        return ours
    document = PublicDocument(metadata(rules.issuer, capabilities(clients, grant_types, ours), ours, rules.ring))
    below: dict[str, Endpoint] = {path + each: endpoint for each, endpoint in ours.items()} if path else {}
    well_known = endpoint_paths.METADATA
    places = {well_known, well_known + path, path + well_known}
    return {**ours, **below, **dict.fromkeys(sorted(places), document)}


def sharing(endpoints: Mapping[str, Endpoint], clients: Iterable[Client]) -> dict[str, Sharing]:
    """The endpoints, by path, whose responses pages of other origins may read. Pages of the clients' origins need the token and
    the revocation endpoint to redeem codes, refresh and revoke; any page may read the documents."""
    of_clients, of_all = Sharing(page_origins(clients), "POST"), Sharing(None, "GET, HEAD")
    shared: dict[str, Sharing] = {}
    for path, endpoint in endpoints.items():
        if isinstance(endpoint, TokenEndpoint | RevokeEndpoint):
            shared[path] = of_clients
        elif isinstance(endpoint, PublicDocument):
            shared[path] = of_all
    return shared
