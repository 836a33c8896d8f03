"""Authorization codes (RFC 6749 section 4.1, RFC 7636): made by the authorization endpoint, redeemed at the token endpoint.

Rules:
- A code is bound to its client, to the redirect URI if the request named one, and to the PKCE verifier. A request that fails
  in one of them does not use the code up: it proves nothing about who holds it.
- It is good for one use within `ttl`. For `AGAIN` seconds after that its client may try again, for the answer may have been
  lost: whoever has the verifier gets the same refresh token, and another access token of the same grant, as long as that
  refresh token was not used. How many try at once makes no difference.
- A used code that comes in any other way, or later, ends everything that it gave (RFC 6749 section 4.1.2). The grant that it
  stands for has an id that follows from the code, so this holds when nothing is remembered of the code, and also while the
  first use is still being answered.
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
"""Seconds after its use for which a code is answered again."""
_IN_FLIGHT: Final = 60  # seconds within which each use has surely been answered


class StoredCode(NamedTuple):
    """What is stored under the digest of a code, until it `ends`: then it is good no longer, or, if it is `spent`, answered
    no longer. Times are epoch seconds; `redirect_uri` if the request named it."""

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
    """Makes codes, and is the handler of `grant_type=authorization_code`.

    `ttl`: seconds that a code is good for; `new_code` gives 256 random bits in base64url.
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
        """A code that lets the client have a token of this user. Raises `StoreUnavailable`."""
        target, now = authorization.target, self._clock()
        code = self._new_code()
        kept = StoredCode(
            client_id=target.client.client_id,
            redirect_uri=target.redirect_uri if target.named else None,
            challenge=authorization.challenge or "",  # which no verifier fits
            username=username,
            scope=scope,
            grant_id=grant_of_code(code),
            since=int(now),
            ends=now + self._ttl,
        )
        await self._store.put(_key(code), json.dumps(kept._asdict()), self._ttl)
        return code

    async def __call__(self, client: Client, parameters: Parameters) -> Granted:
        """Redeem a code. Raises `Refused`: `INVALID_REQUEST`, `CODE_INVALID`, `CODE_REPLAYED`; `StoreUnavailable`."""
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
        """End what came of a code. Raises `Refused(CODE_REPLAYED)` when something did."""
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
