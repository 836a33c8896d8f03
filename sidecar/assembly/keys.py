"""Signing keys and token rules, from the settings."""

from sidecar.config import settings as config
from sidecar.core.admission import AdmissionRules
from sidecar.core.jose.keys import KeyRing, SigningKey, Window
from sidecar.core.oauth.refresh_tokens import derived_key
from sidecar.core.tokens import TokenRules


def token_rules(tokens: config.Tokens, *, tapdata: bool = True) -> TokenRules:
    """The rules for issuing and verifying tokens; `tapdata`: with TapData's claims."""
    return TokenRules(
        issuer=tokens.issuer,
        audience=tokens.audience,
        access_token_ttl=int(tokens.access_token_ttl),
        leeway=tokens.leeway,
        ring=key_ring(tokens),
        tapdata=tapdata,
    )


def key_ring(tokens: config.Tokens) -> KeyRing:
    """The signing keys, in the order of the configuration."""
    return KeyRing([_key(key) for key in tokens.signing_keys])


def _key(key: config.SigningKey) -> SigningKey:
    window = Window(key.not_before, key.not_after)
    if key.secret is not None:
        return SigningKey.hmac(key.kid, key.alg, key.secret.get_secret_value(), window)
    if key.private_key is not None:
        return SigningKey.private(key.kid, key.alg, key.private_key.get_secret_value(), window)
    return SigningKey.public(key.kid, key.alg, key.public_key or "", window)


def successor_keys(tokens: config.Tokens) -> list[bytes]:
    """The keys that derive the successor of a refresh token, one for each signing key that is not public only."""
    secret = [key.secret or key.private_key for key in tokens.signing_keys]
    return [derived_key(each.get_secret_value().encode()) for each in secret if each is not None]


def admission_rules(settings: config.Settings, ring: KeyRing) -> AdmissionRules:
    """The configuration of the admission rule."""
    disabled = frozenset(client.client_id for client in settings.clients if client.disabled)
    return AdmissionRules(
        settings.tokens.leeway, frozenset(key.kid for key in ring), disabled, settings.store.on_outage
    )
