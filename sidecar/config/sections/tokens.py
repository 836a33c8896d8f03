"""The section `tokens`: which tokens the sidecar issues and accepts."""

from typing import Annotated

from pydantic import Field

from sidecar.config.sections.model import Model
from sidecar.config.sections.signing_keys import SigningKey
from sidecar.config.values import Duration, PositiveDuration, accepted_by, at_most, checked_by, not_empty
from sidecar.core.oauth.issuer import InvalidIssuer, issuer_path
from sidecar.core.oauth.names import token_fault


def _seconds_fault(ttl: float) -> str | None:
    if ttl < 1 or ttl != int(ttl):
        return "must be a whole number of seconds, at least 1s"  # expires_in is an integer
    return None


def _signer_fault(signing_keys: tuple[SigningKey, ...]) -> str | None:
    if all(key.public_key is not None for key in signing_keys):
        return "no key can sign: one must have a secret or a private_key"
    return None


class Tokens(Model):
    """Which tokens the sidecar issues and accepts."""

    issuer: Annotated[str, Field(max_length=512), checked_by(token_fault), accepted_by(issuer_path, InvalidIssuer)]
    """`iss` of every token: the URL where clients find the sidecar. A token with another value is refused."""
    audience: Annotated[str, Field(min_length=1, max_length=512)]
    """`aud` of every token. A token with another value is refused."""
    access_token_ttl: Annotated[Duration, at_most(86400, "24h"), checked_by(_seconds_fault)] = 1800.0
    """How long an access token is valid: whole seconds, at most 24h."""
    refresh_token_ttl: Annotated[PositiveDuration, at_most(365 * 86400, "365d")] = 14 * 86400.0
    """How long after the grant its refresh tokens end, at most 365d."""
    refresh_idle: PositiveDuration = 7 * 86400.0
    """When no refresh token was used during this time, the grant ends."""
    refresh_grace: Annotated[Duration, at_most(60, "60s")] = 10.0
    """A second use of a refresh token gets the same successor until that was used; `0s`: any second use revokes the
    grant. The length of any other value makes no difference; at most 60s."""
    leeway: Annotated[Duration, at_most(30, "30s")] = 0.0
    """Tolerance for clocks, at most 30s."""
    cache_size: Annotated[int, Field(ge=0, le=10_000_000)] = 20_000
    """The number of verified tokens that each worker remembers. 0 checks the signature on every request."""
    signing_keys: Annotated[tuple[SigningKey, ...], Field(strict=False), not_empty, checked_by(_signer_fault)]
    """The first key within its window signs, and all verify."""
