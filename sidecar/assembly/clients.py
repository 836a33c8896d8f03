"""The client registry, and client authentication."""

import secrets
from typing import Literal

from sidecar.assembly.living import Living
from sidecar.config import settings as config
from sidecar.core.events import SecretUsed
from sidecar.core.jose.assertions import AssertionRules
from sidecar.core.jose.client_keys import from_secret, read_jwk, read_pem
from sidecar.core.oauth import endpoint_paths
from sidecar.core.oauth.clients import SECRET_JWT, Client, ClientRegistry, Recognised
from sidecar.core.oauth.secrets import choose_scheme, hash_secret, parse_secret_hash
from sidecar.oauth.clients.assertions import AssertionAuthenticator
from sidecar.oauth.clients.authentication import ClientAuthenticator
from sidecar.oauth.clients.throttle import Rates, Throttle, ThrottledClients


def client_registry(clients: tuple[config.Client, ...]) -> ClientRegistry:
    """The configured clients, with every secret as a hash."""
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
        # The settings hold it in plain text anyway: a digest is enough for a comparison in constant time.
        return [hash_secret(client.client_secret.get_secret_value(), secrets.token_bytes(16), "sha256")]
    hashes = client.client_secret_hashes or ((client.client_secret_hash,) if client.client_secret_hash else ())
    return [each.get_secret_value() for each in hashes]


def unguessable(client: config.Client) -> bool:
    """Whether the client's credentials cannot be guessed: each of its secrets is long enough to have been generated, or it has
    no secret."""
    plain = client.client_secret.get_secret_value() if client.client_secret else None
    hashes = [client.client_secret_hash] if client.client_secret_hash else list(client.client_secret_hashes or ())
    return (plain is None or choose_scheme(plain) == "sha256") and all(
        not parse_secret_hash(each.get_secret_value()).slow for each in hashes
    )


def authenticator(settings: config.Settings, registry: ClientRegistry, living: Living) -> ThrottledClients:
    """The authenticator of clients, which slows down repeated failures."""
    issuer = settings.tokens.issuer
    token_endpoint = issuer.removesuffix("/") + endpoint_paths.TOKEN
    assertions = AssertionRules(registry, issuer=issuer, token_endpoint=token_endpoint)

    def note(recognised: Recognised) -> None:
        if recognised.secret is not None:
            living.emit(SecretUsed(recognised.client.client_id, recognised.secret, living.clock()))

    return ThrottledClients(
        ClientAuthenticator(
            registry,
            hashes=living.client_secrets,
            realm=issuer,
            assertions=AssertionAuthenticator(assertions, store=living.store, clock=living.clock),
            on_recognised=note,
        ),
        throttle(settings.throttling, "client", living),
        unguessable=frozenset(client.client_id for client in settings.clients if unguessable(client)),
        requests=settings.throttling.requests_per_client,
    )


def throttle(settings: config.Throttling, kind: Literal["client", "user"], living: Living) -> Throttle:
    """The counts of failures: of client authentication, or of logins."""
    rates = {
        "client": Rates(
            settings.failures_per_address, settings.failures_per_client, settings.failures_per_client_and_address
        ),
        "user": Rates(
            settings.failed_logins_per_address,
            settings.failed_logins_per_user,
            settings.failed_logins_per_user_and_address,
        ),
    }
    return Throttle(kind, rates[kind], memory=living.failures[kind], store=living.store, monotonic=living.monotonic)
