"""Issues and redeems refresh tokens (RFC 6749 section 6) by the rules of `core.oauth.refresh_tokens`.

A refresh needs one round trip to the store. While the store is down the answer is 503 and the token stays valid: the sidecar
does not know whether the store changed anything, and a repeated request gets what the lost response would have contained.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.core.digests import digest
from sidecar.core.events import EventHandler, TokenRevoked
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import REFRESH_TOKEN, Granted, Successor, narrow_scope
from sidecar.core.oauth.refresh_tokens import (
    REFUSALS,
    Family,
    FamilyAccess,
    Rotation,
    access_id,
    family_key,
    first_access_id,
    first_token,
    given_successor,
    of_client,
    successor,
)
from sidecar.core.oauth.users import User
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.oauth.parameters import Parameters


class RefreshTimes(NamedTuple):
    """A family ends `ttl` seconds after its grant, and `idle` seconds after its last use. `repeats`: a repeated refresh gets
    the same successor, until that successor has been used."""

    ttl: int
    idle: int
    repeats: bool


class RefreshTokens:
    """The handler of `grant_type=refresh_token`; `begin` issues the first token of a family.

    `find_user` gives the current state of a user by name, `None` when the user no longer exists or is disabled. `keys` gives
    the keys that derive successors (`core.oauth.refresh_tokens.derived_key`), the current one first. `clock` gives epoch
    seconds, `new_id` 128 random bits in base64url.
    """

    def __init__(
        self,
        *,
        store: Store,
        rules: TokenRules,
        times: RefreshTimes,
        find_user: Callable[[str], User | None],
        keys: Callable[[], Sequence[bytes]],
        emit: EventHandler,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._rules = rules
        self._times = times
        self._find_user = find_user
        self._keys = keys
        self._emit = emit
        self._clock = clock
        self._new_id = new_id

    def name(self, client: Client, granted: Granted) -> Granted:
        """The grant, with an id when it needs one: a client credentials grant with a refresh token has none yet."""
        if granted.grant_id is not None or granted.successor is not None or not _refreshable(client, granted):
            return granted
        grant_id = self._new_id()
        return granted._replace(grant_id=grant_id, seed=of_client(client.client_id), jti=first_access_id(grant_id))

    async def begin(self, client: Client, granted: Granted, access: AccessToken) -> str | None:
        """Store a grant's family and give its first refresh token; `None` when the client gets none, or when the grant has no
        id and nothing is stored. A repeated request for the same grant gets the same token, until a token of the grant has been
        used.

        Raises `Refused` (`GRANT_REVOKED` when the grant has been revoked, `CODE_REPLAYED` when a token of the grant has been
        used, which revokes the grant) and `StoreUnavailable`.
        """
        grant_id, refreshable = granted.grant_id, _refreshable(client, granted)
        if grant_id is None:
            return None
        issued = access.iat if granted.since is None else granted.since
        ends = access.iat + self._times.ttl if refreshable else access.remembered_until
        family = Family(client.client_id, granted.subject, granted.roles, granted.scope, issued, ends)
        kept = FamilyAccess(access.jti, access.remembered_until)
        # First the token to issue, then those that a process with another first key may have issued.
        given = (first_token(grant_id, granted.seed or "", key) for key in self._keys())
        for token in given if refreshable else [None]:
            current = digest(token) if token else ""
            if await self._store.open_family(digest(grant_id), family, current, kept, self._times.idle):
                return token
        raise await self._not_opened(grant_id, client)

    async def _not_opened(self, grant_id: str, client: Client) -> Refused:
        end = await self._store.end_family(digest(grant_id), client.client_id)
        for jti in end.revoked:
            self._emit(TokenRevoked(client.client_id, jti))
        reason = Reason.CODE_REPLAYED if end.revoked else Reason.GRANT_REVOKED
        return Refused(reason, client_id=client.client_id)

    async def __call__(self, client: Client, parameters: Parameters) -> Granted:
        """The grant of RFC 6749 section 6. Raises `Refused`, `StoreUnavailable`."""
        token = parameters.get(REFRESH_TOKEN)
        if token is None:
            raise Refused(Reason.INVALID_REQUEST, "The parameter refresh_token is missing.", client_id=client.client_id)
        key = family_key(token)
        if key is None:
            raise Refused(Reason.REFRESH_MALFORMED, client_id=client.client_id)
        scope = narrow_scope(client, parameters["scope"]) if "scope" in parameters else ()
        # Taken before the rotation: an access token must not be younger than the permission to issue it (`core.revocations`).
        at, jti = self._clock(), access_id(key, self._new_id())
        family, following = await self._rotate(
            client, key, token, scope, FamilyAccess(jti, self._rules.remembered_until(at))
        )
        roles, most = await self._still(client, key, family)
        return Granted(
            family.subject,
            roles,
            tuple(name for name in scope or family.scope if name in client.scope and (most is None or name in most)),
            successor=Successor(following, jti, at),
        )

    async def _still(self, client: Client, key: str, family: Family) -> tuple[tuple[str, ...], Sequence[str] | None]:
        """The current roles of the subject, and the scope that limits a user now (`None`: no limit). When the user is gone or
        disabled, this revokes the grant and raises `Refused(GRANT_REVOKED)`. Raises `StoreUnavailable`."""
        if family.subject == client.client_id:
            return client.roles, None
        user = self._find_user(family.subject)
        if user is None:
            for jti in (await self._store.end_family(key, client.client_id)).revoked:
                self._emit(TokenRevoked(client.client_id, jti))
            raise Refused(Reason.GRANT_REVOKED, client_id=client.client_id, user=family.subject)
        return user.roles, user.scope

    async def _rotate(
        self, client: Client, key: str, token: str, scope: tuple[str, ...], access: FamilyAccess
    ) -> tuple[Family, str]:
        """The token's family, and its successor. Raises `Refused` and `StoreUnavailable`."""
        keys = self._keys()
        following = digest(successor(token, keys[0]))
        times = self._times
        rotation = Rotation(client.client_id, digest(token), following, scope, access, times.repeats, times.idle)
        done = await self._store.rotate(key, rotation)
        for jti in done.revoked:
            self._emit(TokenRevoked(client.client_id, jti))
        if done.family is None:
            raise Refused(REFUSALS[done.outcome], client_id=client.client_id)
        given = given_successor(token, done.current, keys)
        if given is None:  # it was derived with a key that is no longer configured
            raise Refused(Reason.REFRESH_EXPIRED, client_id=client.client_id)
        return done.family, given


def _refreshable(client: Client, granted: Granted) -> bool:
    return granted.refreshable and REFRESH_TOKEN in client.grant_types
