"""Authorization codes (RFC 6749 section 4.1, RFC 7636). The authorization endpoint issues, the token endpoint redeems them.

Rules:
- A code is bound to its client, to the redirect URI if the request named one, and to the PKCE verifier. A request in which one
  of these is wrong does not use up the code, because it may come from somebody else.
- A code is valid for one use within `ttl`. For `AGAIN` seconds after that use the client may repeat the request, because the
  response may have been lost: with the verifier it gets the same refresh token, and another access token of the same grant,
  until that refresh token is used. The number of simultaneous repetitions makes no difference.
- A used code that is presented in any other way, or later, revokes everything that was issued for it (RFC 6749 section 4.1.2).
  The id of its grant is derived from the code, so this works even when the store has forgotten the code, and while the
  response to the first use is still in progress.
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.digests import digest
from sidecar.core.events import EventHandler, TokenRevoked
from sidecar.core.oauth.authorization import AuthorizationRequest, verifies
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import Granted
from sidecar.core.oauth.refresh_tokens import Outcome, grant_of_code, of_code
from sidecar.core.oauth.users import UserDirectory
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.parameters import Parameters

AGAIN: Final = 30
"""Seconds after its first use in which the client may repeat the request for a code."""
_IN_FLIGHT: Final = 60  # seconds after which no use of a code is still being answered


class StoredCode(NamedTuple):
    """The stored state of a code, under the digest of the code. At `ends` the code expires or, if it is `spent`, its repetition
    ends. Times are epoch seconds. `redirect_uri` is `None` when the request named none."""

    client_id: str
    redirect_uri: str | None
    challenge: str
    username: str
    scope: tuple[str, ...]
    grant_id: str
    since: int
    ends: float
    spent: bool = False


class AuthorizationCodes:
    """Issues codes, and is the handler of `grant_type=authorization_code`.

    `ttl` is the lifetime of a code in seconds; `new_code` gives 256 random bits in base64url.
    """

    def __init__(
        self,
        store: Store,
        users: UserDirectory,
        *,
        ttl: int,
        clock: Callable[[], float],
        new_code: Callable[[], str],
        emit: EventHandler,
    ) -> None:
        self._store = store
        self._users = users
        self._ttl = ttl
        self._clock = clock
        self._new_code = new_code
        self._emit = emit

    async def issue(self, authorization: AuthorizationRequest, username: str, scope: tuple[str, ...]) -> str:
        """A new code, which the client can exchange for a token of this user. Raises `StoreUnavailable`."""
        target, now = authorization.target, self._clock()
        code = self._new_code()
        kept = StoredCode(
            client_id=target.client.client_id,
            redirect_uri=target.redirect_uri if target.named else None,
            challenge=authorization.challenge or "",  # no verifier matches an empty one
            username=username,
            scope=scope,
            grant_id=grant_of_code(code),
            since=int(now),
            ends=now + self._ttl,
        )
        await self._store.put(_key(code), json.dumps(kept._asdict()), self._ttl)
        return code

    async def __call__(self, client: Client, parameters: Parameters) -> Granted:
        """Redeem a code. Raises `Refused` (`INVALID_REQUEST`, `CODE_INVALID`, `CODE_REPLAYED`) and `StoreUnavailable`."""
        for name in ("code", "code_verifier"):
            if name not in parameters:
                raise Refused(Reason.INVALID_REQUEST, f"The parameter {name} is missing.", client_id=client.client_id)
        code = parameters["code"]
        text = await self._store.get(_key(code))
        if text is None:
            await self._replayed(client.client_id, grant_of_code(code))
            raise Refused(Reason.CODE_INVALID, client_id=client.client_id)
        kept = StoredCode(**json.loads(text))
        if kept.client_id != client.client_id:
            raise Refused(Reason.CODE_INVALID, client_id=client.client_id)
        now = self._clock()
        good = now < kept.ends and _fits(kept, parameters)
        if kept.spent and not good:
            await self._replayed(kept.client_id, kept.grant_id, user=kept.username, forbid=_IN_FLIGHT)
            raise Refused(Reason.CODE_REPLAYED, client_id=kept.client_id, user=kept.username)
        user = self._users.find(kept.username)
        if user is None or not good:
            raise Refused(Reason.CODE_INVALID, client_id=client.client_id, user=kept.username)
        if not kept.spent:
            spent = kept._replace(spent=True, ends=now + AGAIN)
            await self._store.put(_key(code), json.dumps(spent._asdict()), _IN_FLIGHT)
        return Granted(
            user.username, user.roles, tuple(kept.scope), grant_id=kept.grant_id, seed=of_code(code), since=kept.since
        )

    async def _replayed(self, client_id: str, grant_id: str, *, user: str | None = None, forbid: int = 0) -> None:
        """Revoke everything that was issued for a code. Raises `Refused(CODE_REPLAYED)` when there was anything to revoke."""
        end = await self._store.end_family(digest(grant_id), client_id, forbid=forbid)
        for jti in end.revoked:
            self._emit(TokenRevoked(client_id, jti))
        if end.outcome is Outcome.ENDED:
            raise Refused(Reason.CODE_REPLAYED, client_id=client_id, user=user)


def _fits(kept: StoredCode, parameters: Parameters) -> bool:
    sent = parameters.get("redirect_uri")
    if sent != kept.redirect_uri and not (sent is None and kept.redirect_uri is None):
        return False
    return verifies(parameters["code_verifier"], kept.challenge)


def _key(code: str) -> str:
    return f"code:{digest(code)}"
