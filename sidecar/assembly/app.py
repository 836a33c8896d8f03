"""The composition root: settings in, the wired parts of one worker out. The one file that knows everybody."""

import asyncio
import logging
import math
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from sidecar.assembly.people import People
from sidecar.config import settings as config
from sidecar.config.load import current_store_url
from sidecar.core.admission import AdmissionRules
from sidecar.core.events import Event, SecretUsed, StoreChanged
from sidecar.core.http.cross_origin import Sharing, page_origins
from sidecar.core.http.headers import request_kinds
from sidecar.core.jose.assertions import AssertionRules
from sidecar.core.jose.client_keys import from_secret, read_jwk, read_pem
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.core.oauth.clients import SECRET_JWT, Client, ClientRegistry, Recognised
from sidecar.core.oauth.grants import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, REFRESH_TOKEN
from sidecar.core.oauth.issuer import issuer_path
from sidecar.core.oauth.refresh_tokens import derived_key
from sidecar.core.oauth.secrets import choose_scheme, hash_secret, parse_secret_hash
from sidecar.core.policy import Access, Route, RoutePolicy
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.replies import Endpoint
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import TokenRules
from sidecar.oauth.clients.assertions import AssertionAuthenticator
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.clients.throttle import Rates, Throttle, ThrottledClients, ThrottledLogins
from sidecar.oauth.endpoints.introspect import IntrospectEndpoint
from sidecar.oauth.endpoints.metadata import JWKS_PATH, WELL_KNOWN, PublicDocument, jwks, metadata, offer
from sidecar.oauth.endpoints.revoke import RevokeEndpoint
from sidecar.oauth.endpoints.token import Grant, TokenEndpoint, client_credentials
from sidecar.oauth.grants.refresh_token import RefreshTimes, RefreshTokens
from sidecar.ops.admin import WRITES
from sidecar.ops.key_watch import KeyWatch
from sidecar.ops.logs import AccessLog, RequestLines, json_stream, lines_dropped
from sidecar.ops.metrics import Gauges, Metrics
from sidecar.proxy.client.acceptor import Acceptor
from sidecar.proxy.client.connections import ClientLimits, ClientTimeouts, Listener
from sidecar.proxy.exchange import Exchange, Services
from sidecar.proxy.gateway import Gateway
from sidecar.proxy.rules import CredentialRules, HostRules, RequestRules
from sidecar.proxy.token_cache import Lookups, TokenCache
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.upstream.connection import UPSTREAM_HOST, PoolLimits, UpstreamTimeouts
from sidecar.proxy.upstream.pool import UpstreamPool, authority_of
from sidecar.stores import open_store
from sidecar.tls import upstream_context

log: Final = logging.getLogger("sidecar")

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  a path
REVOKE_PATH: Final = "/oauth/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"
_PAUSES_LOGGED_EVERY: Final = 60.0  # seconds


class App:
    """One worker's parts. `store`, `listener`, `pool` and `metrics` are what `server` and tests talk to."""

    def __init__(
        self,
        settings: config.Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.now = now
        self.monotonic = monotonic
        self.store_up = False
        self._quiet_until = 0.0  # monotonic
        self._listeners: list[Callable[[Event], None]] = []
        self.view = RevocationView(settings.store.max_staleness)
        self.store: Store = open_store(
            settings.store.url.get_secret_value(),
            prefix=settings.store.prefix,
            timeout=settings.store.timeout,
            max_staleness=settings.store.max_staleness,
            clock=now,
            monotonic=monotonic,
            emit=self.emit,
            renewed=partial(current_store_url, settings),
        )
        times = settings.timeouts
        upstream = settings.upstream
        self.pool = UpstreamPool(
            upstream.url,
            loop=loop,
            timeouts=UpstreamTimeouts(times.connect, times.response, times.stream),
            limits=PoolLimits(upstream.max_connections, upstream.idle, upstream.max_age),
            monotonic=monotonic,
            on_unasked=log_unasked,
            tls=upstream_context(upstream.tls.ca, upstream.tls.certificate, upstream.tls.key),
            server_name=upstream.tls.server_name,
            each_its_host=upstream.host == "upstream",
        )
        self.tunnels: set[Tunnel] = set()
        switching: set[Exchange] = set()
        self.lookups = Lookups()
        self.metrics = Metrics(self.gauges)
        stream = json_stream()
        lines = RequestLines(stream, later=loop.call_later, clock=now) if stream is not None else None
        self.access_log = AccessLog(logging.getLogger("sidecar.access"), settings.logging.admitted, lines)
        self._listeners += [self._note_store, self.metrics.on_event, self.access_log.on_event]
        rules = self.rules = token_rules(settings.tokens, tapdata=settings.compat == "tapdata")
        self.key_watch = KeyWatch(log, lambda: rules.ring, now)
        endpoints = self._endpoints(rules)
        gateway = Gateway(
            RequestRules(
                0,
                policy=route_policy(settings, endpoints),
                endpoints=endpoints,
                sharing=sharing(endpoints, self.clients),
                tokens=rules,
                admission=admission_rules(settings, rules.ring),
                credentials=CredentialRules(frozenset(settings.credentials.places), settings.credentials.body_limit),
                kinds=request_kinds(settings.proxy_headers),
                host=HostRules(authority_of(upstream.url[0]), host_sent(upstream)),
                cache=TokenCache(settings.tokens.cache_size, self.lookups),
            ),
            view=self.view,
            switching=switching,
            most_tunnels=settings.limits.tunnels,
            now=now,
            monotonic=monotonic,
            log_failure=log_failure,
        )
        limits = settings.limits
        count = None if self.access_log.admitted_shown else self.metrics.count
        self.listener = Listener(
            gateway,
            Services(
                self.pool,
                self.emit,
                count,
                monotonic,
                self.tunnels,
                switching,
                times.stream,
                limits.body,
                settings.compat == "tapdata",
            ),
            loop=loop,
            timeouts=ClientTimeouts(times.request_header, times.idle),
            limits=ClientLimits(
                limits.connections, limits.in_flight, limits.request_line, limits.headers, limits.header_count
            ),
            trusted_proxies=settings.trusted_proxies,
            end_with_token=settings.streams.end_with_token,
            log_failure=log_failure,
        )

    def _endpoints(self, rules: TokenRules) -> dict[str, Endpoint]:
        issuer = self.settings.tokens.issuer
        registry = self.clients = client_registry(self.settings.clients)
        assertions = AssertionRules(registry, issuer=issuer, token_endpoint=issuer.removesuffix("/") + TOKEN_PATH)
        self.authenticator = ClientAuthenticator(
            registry,
            realm=issuer,
            assertions=AssertionAuthenticator(assertions, store=self.store, clock=self.now),
            on_recognised=self._note_secret,
        )
        authenticator = self._throttled(self.authenticator)
        self.people = People(
            self.settings,
            clients=registry,
            rules=rules,
            store=self.store,
            ended=self._ended,
            throttle=ThrottledLogins(self._throttle("user")),
            emit=self.emit,
            clock=self.now,
            new_id=new_id,
        )
        successors = successor_keys(self.settings.tokens)
        refresh = self._refresh_tokens(rules, successors)
        grants: dict[str, Grant] = {
            CLIENT_CREDENTIALS: client_credentials,
            REFRESH_TOKEN: refresh,
            AUTHORIZATION_CODE: self.people.codes,
        }
        endpoints: dict[str, Endpoint] = {
            **self.people.endpoints,
            TOKEN_PATH: TokenEndpoint(
                authenticator=authenticator,
                grants=grants,
                refresh=refresh,
                rules=rules,
                view=self.view,
                emit=self.emit,
                clock=self.now,
                new_id=new_id,
            ),
            REVOKE_PATH: RevokeEndpoint(
                authenticator=authenticator,
                rules=rules,
                store=self.store,
                keys=lambda: successors,
                emit=self.emit,
                clock=self.now,
            ),
            INTROSPECT_PATH: IntrospectEndpoint(
                authenticator=authenticator,
                clients=registry,
                rules=rules,
                admission=admission_rules(self.settings, rules.ring),
                store=self.store,
                view=self.view,
                clock=self.now,
                monotonic=self.monotonic,
            ),
        }
        return with_metadata(endpoints, rules, registry, grants)

    def use_keys(self, ring: KeyRing) -> None:
        """Replace the keys in force, in one step of the loop: no request meets the new ones beside tokens that were verified
        by the old. What streams with the token of a key that is gone ends as if the token had been revoked."""
        raise NotImplementedError

    def _refresh_tokens(self, rules: TokenRules, keys: Sequence[bytes]) -> RefreshTokens:
        tokens = self.settings.tokens
        return RefreshTokens(
            store=self.store,
            rules=rules,
            times=RefreshTimes(
                math.ceil(tokens.refresh_token_ttl), math.ceil(tokens.refresh_idle), tokens.refresh_grace > 0
            ),
            find_user=self.people.find_user,
            keys=lambda: keys,
            emit=self.emit,
            clock=self.now,
            new_id=new_id,
        )

    def _ended(self, client_id: str, username: str, since: float) -> bool:
        """Whether what a user began so early was revoked; asked about a session, `client_id` is empty."""
        if not self.view.usable(self.monotonic()):
            raise StoreUnavailable("the revocation view is stale")
        return self.view.cut_off(client_id, username, int(since))

    def _throttled(self, authenticator: ClientAuthenticator) -> ThrottledClients:
        clients = self.settings.clients
        return ThrottledClients(
            authenticator,
            self._throttle("client"),
            unguessable=frozenset(client.client_id for client in clients if unguessable(client)),
            requests=self.settings.throttling.requests_per_client,
        )

    def _throttle(self, kind: Literal["client", "user"]) -> Throttle:
        said = self.settings.throttling
        rates = {
            "client": Rates(said.failures_per_address, said.failures_per_client, said.failures_per_client_and_address),
            "user": Rates(
                said.failed_logins_per_address, said.failed_logins_per_user, said.failed_logins_per_user_and_address
            ),
        }
        return Throttle(kind, rates[kind], store=self.store, monotonic=self.monotonic)

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener(event)

    def _note_secret(self, recognised: Recognised) -> None:
        if recognised.secret is not None:
            self.emit(SecretUsed(recognised.client.client_id, recognised.secret, self.now()))

    def _note_store(self, event: Event) -> None:
        if isinstance(event, StoreChanged):
            self.store_up = event.up

    def gauges(self) -> Gauges:
        """The values that live in the parts, for the metrics."""
        condition = self.store.condition()
        return Gauges(
            in_flight=self.listener.in_flight,
            connections=self.listener.present,
            tunnels=len(self.tunnels),
            cache_hits=self.lookups.hits,
            cache_misses=self.lookups.misses,
            store_up=self.store_up,
            staleness=self.view.staleness(self.monotonic()),
            revocations=len(self.view),
            log_lines_dropped=lines_dropped(),
            store_writable=not condition.fault_of_writes,
            clock_skew=condition.skew,
            unreadable=condition.unreadable,
        )

    def acceptor(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Acceptor:
        """What hands the connections of a listening socket to the listener, once it is started."""
        return Acceptor(
            self.listener,
            sock,
            tls=tls,
            handshake=self.settings.timeouts.request_header,  # it is part of what comes before a request
            introduced=self.settings.listen.proxy_protocol,
            on_pause=self._accept_paused,
            log_failure=log_failure,
        )

    def _accept_paused(self, fault: str) -> None:
        now = self.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _PAUSES_LOGGED_EVERY
            log.error("accept_paused", extra={"detail": fault, "connections": self.listener.present})

    async def readiness(self) -> Mapping[str, str | None]:
        """Each check with `None`, or with what is wrong. That nothing can be written keeps nobody from being served."""
        usable = self.view.usable(self.monotonic())
        causes = "; ".join(cause.sentence for cause in await self.pool.probe())
        return {
            "store": None if usable else "the revocation view is stale",
            WRITES: f"nothing can be revoked: {fault}" if (fault := self.store.condition().fault_of_writes) else None,
            "upstream": f"the API server does not accept connections: {causes}" if causes else None,
            "draining": "the worker is going away" if self.listener.draining else None,
        }

    async def close(self) -> None:
        """Give back what the parts hold."""
        self.authenticator.close()
        self.access_log.close()
        self.people.close()
        await self.pool.close()
        await self.store.close()


def host_sent(upstream: config.Upstream) -> bytes | None:
    """What the API gets as `Host` instead of what the client sent, if anything."""
    if upstream.host == "keep":
        return None
    return UPSTREAM_HOST if upstream.host == "upstream" else upstream.host.encode()


def admission_rules(settings: config.Settings, ring: KeyRing) -> AdmissionRules:
    """What the admission rule takes from the configuration."""
    disabled = frozenset(client.client_id for client in settings.clients if client.disabled)
    return AdmissionRules(settings.tokens.leeway, frozenset(key.kid for key in ring), disabled)


def token_rules(tokens: config.Tokens, *, tapdata: bool = True) -> TokenRules:
    """The rules by which tokens are issued and verified; `tapdata`: with its claims."""
    return TokenRules(
        issuer=tokens.issuer,
        audience=tokens.audience,
        access_token_ttl=int(tokens.access_token_ttl),
        leeway=tokens.leeway,
        ring=key_ring(tokens),
        tapdata=tapdata,
    )


def key_ring(tokens: config.Tokens) -> KeyRing:
    """The keys of the configuration, in its order."""
    return KeyRing([_key(key) for key in tokens.signing_keys])


def _key(key: config.SigningKey) -> SigningKey:
    window = Window(key.not_before, key.not_after)
    if key.secret is not None:
        return SigningKey.hmac(key.kid, key.alg, key.secret.get_secret_value(), window)
    if key.private_key is not None:
        return SigningKey.private(key.kid, key.alg, key.private_key.get_secret_value(), window)
    return SigningKey.public(key.kid, key.alg, key.public_key or "", window)


def with_metadata(
    endpoints: Mapping[str, Endpoint], rules: TokenRules, clients: Iterable[Client], grant_types: Container[str]
) -> dict[str, Endpoint]:
    """The endpoints, with the documents that tell of them. An issuer that is no URL has keys, but no metadata; one with a path
    has its endpoints below that path as well."""
    ours: dict[str, Endpoint] = {**endpoints, JWKS_PATH: PublicDocument(lambda: rules.ring, jwks)}
    path = issuer_path(rules.issuer)
    if path is None:
        return ours
    offered = offer(clients, grant_types, ours)
    document = PublicDocument(lambda: rules.ring, lambda ring: metadata(rules.issuer, offered, ours, ring))
    below: dict[str, Endpoint] = {path + each: endpoint for each, endpoint in ours.items()} if path else {}
    places = {WELL_KNOWN, WELL_KNOWN + path, path + WELL_KNOWN}
    return {**ours, **below, **dict.fromkeys(sorted(places), document)}


def sharing(endpoints: Mapping[str, Endpoint], clients: Iterable[Client]) -> dict[str, Sharing]:
    """What pages of other origins may read, by path: what they need to redeem a code, refresh and revoke."""
    of_clients, of_all = Sharing(page_origins(clients), "POST"), Sharing(None, "GET, HEAD")
    shared: dict[str, Sharing] = {}
    for path, endpoint in endpoints.items():
        if isinstance(endpoint, TokenEndpoint | RevokeEndpoint):
            shared[path] = of_clients
        elif isinstance(endpoint, PublicDocument):
            shared[path] = of_all
    return shared


def successor_keys(tokens: config.Tokens) -> list[bytes]:
    """The keys by which a refresh token gives its successor, one for each signing key that is not public."""
    secret = [key.secret or key.private_key for key in tokens.signing_keys]
    return [derived_key(each.get_secret_value().encode()) for each in secret if each is not None]


def client_registry(clients: tuple[config.Client, ...]) -> ClientRegistry:
    """The clients, with every secret as a hash."""
    return ClientRegistry([_client(client) for client in clients], memo_key=secrets.token_bytes(32))


def _client(client: config.Client) -> Client:
    pems = client.public_key or ()
    jwks = client.jwks.keys if client.jwks else ()
    keys = [*map(read_pem, pems), *map(read_jwk, jwks)]
    if client.token_endpoint_auth_method == SECRET_JWT and client.client_secret is not None:
        keys.append(from_secret(client.client_secret.get_secret_value()))
    return Client(
        client_id=client.client_id,
        secrets=tuple(map(parse_secret_hash, _secret_hashes(client))),
        grant_types=frozenset(client.grant_types),
        scope=client.scope,
        roles=client.roles,
        disabled=client.disabled,
        client_name=client.client_name,
        redirect_uris=client.redirect_uris,
        introspect=client.introspect,
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        keys=tuple(keys),
    )


def _secret_hashes(client: config.Client) -> list[str]:
    if client.client_secret is not None:
        # It stands in plain text in our memory anyway: a digest is enough to compare it in constant time.
        return [hash_secret(client.client_secret.get_secret_value(), secrets.token_bytes(16), "sha256")]
    hashes = client.client_secret_hashes or ((client.client_secret_hash,) if client.client_secret_hash else ())
    return [each.get_secret_value() for each in hashes]


def unguessable(client: config.Client) -> bool:
    """Whether nobody can hit on what the client proves itself with: every secret is long enough to have been generated, or it
    has none."""
    plain = client.client_secret.get_secret_value() if client.client_secret else None
    hashes = [client.client_secret_hash] if client.client_secret_hash else list(client.client_secret_hashes or ())
    return (plain is None or choose_scheme(plain) == "sha256") and all(
        not parse_secret_hash(each.get_secret_value()).slow for each in hashes
    )


def route_policy(settings: config.Settings, endpoints: Mapping[str, Endpoint]) -> RoutePolicy:
    """Our own endpoints first, then the configured routes."""
    ours = [Route(path, access=Access.LOCAL) for path in endpoints]
    return RoutePolicy([*ours, *(route.rule for route in settings.routes)])


def new_id() -> str:
    """An id that nobody can guess: 128 bits."""
    return secrets.token_urlsafe(16)


def log_unasked(upstream: str) -> None:
    """Tell the operator about an API whose answers could reach the wrong client."""
    detail = "the API sent bytes that no request had asked for; for a while each connection to it carries one request"
    log.warning("upstream_spoke_unasked", extra={"upstream": upstream, "detail": detail})


def log_failure(where: str, defect: Exception) -> None:
    """A defect of ours: say so with its traceback, which is redacted."""
    log.error("internal_error", exc_info=defect, extra={"where": where})
