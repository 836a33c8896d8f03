"""Revocation from outside the running processes, through the store that they share. `sidecar tokens revoke` uses it."""

from typing import NamedTuple

from sidecar.assembly.keys import successor_keys, token_rules
from sidecar.assembly.shared_store import opened_store
from sidecar.config.settings import Settings
from sidecar.core.oauth.refresh_tokens import Outcome, family_key, first_access
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.core.revocations import NOT_BEFORE_KEPT, NotBefore


class RevokedGrant(NamedTuple):
    """A refresh token was revoked with its grant, including this number of access tokens."""

    access_tokens: int


class RevokedAccessToken(NamedTuple):
    """The access token with this id was revoked. It was issued to this client."""

    jti: str
    client_id: str


class RevokedFirst(NamedTuple):
    """The access token with this id was revoked. It was issued with a refresh token that the store has forgotten."""

    jti: str


Revoked = RevokedGrant | RevokedAccessToken | RevokedFirst


async def revoke_before(settings: Settings, not_before: NotBefore, now: float) -> None:
    """Revoke everything that the not-before time covers. `now` is in epoch seconds. Raises `StoreUnavailable`."""
    async with opened_store(settings) as store:
        await store.set_not_before(not_before, int(now) + NOT_BEFORE_KEPT)


async def revoke_presented(settings: Settings, token: str, now: float) -> Revoked:
    """Revoke an access token, or a refresh token with its grant. `now` is in epoch seconds. Raises `Refused` when the sidecar
    did not issue the token, and `StoreUnavailable`."""
    family = family_key(token)
    async with opened_store(settings) as store:
        if family is None:
            claims = token_rules(settings.tokens).read_signed(token)
            await store.revoke(claims.jti, claims.remembered_until)
            return RevokedAccessToken(claims.jti, claims.client_id)
        ended = await store.end_family(family)
        if ended.outcome is Outcome.UNKNOWN:
            return await _revoke_first(settings, store, token, now)
        return RevokedGrant(len(ended.revoked))


async def _revoke_first(settings: Settings, store: Store, token: str, now: float) -> RevokedFirst:
    keys = successor_keys(settings.tokens)
    found = (first_access(token, client.client_id, keys) for client in settings.clients)
    jti = next(filter(None, found), None)
    if jti is None:
        raise Refused(Reason.REFRESH_EXPIRED)
    await store.revoke(jti, token_rules(settings.tokens).remembered_until(now))
    return RevokedFirst(jti)
