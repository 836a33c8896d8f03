"""Authorization codes (RFC 6749 section 4.1, RFC 7636): made by the authorization endpoint, redeemed at the token endpoint.

Rules:
- A code is bound to its client, to the redirect URI if the request named one, and to the PKCE verifier. A request that fails
  in one of them does not use the code up: it proves nothing about who holds it.
- It is good for one use within `ttl`. Two uses at once are told apart by one atomic step of the store.
- A code that comes again ends everything its first use gave (RFC 6749 section 4.1.2): what it was given for has an id that
  was chosen with the code, so this holds even when the first use is still being answered.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, NoReturn

from sidecar.core.authorization import AuthorizationRequest, verifies
from sidecar.core.clients import Client
from sidecar.core.events import Listener, TokenRevoked
from sidecar.core.grants import Granted
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.core.users import UserDirectory
from sidecar.oauth.parameters import Parameters

_IN_FLIGHT: Final = 60  # seconds within which a first use has surely been answered

EndGrant = Callable[[str, str], Awaitable[Iterable[str]]]
"""Ends what came of a grant (`grant_id`) to a client, now or in a moment; gives the ids of the access tokens that ended. Raises
`StoreUnavailable`."""


class Kept(NamedTuple):
    """What is stored under the digest of a code. `ends` in epoch seconds; `redirect_uri` when the request named one."""

    client_id: str
    redirect_uri: str | None
    challenge: str
    username: str
    scope: tuple[str, ...]
    grant_id: str
    ends: float
    spent: bool = False


class AuthorizationCodes:
    """Makes codes, and is the handler of `grant_type=authorization_code`.

    `ttl`: seconds that a code is good for; `remembered`: seconds for which a used one is known again.
    """

    def __init__(
        self,
        store: Store,
        users: UserDirectory,
        *,
        ttl: int,
        remembered: int,
        clock: Callable[[], float],
        new_code: Callable[[], str],
        new_grant_id: Callable[[], str],
        end_grant: EndGrant,
        emit: Listener,
    ) -> None:
        self._store = store
        self._users = users
        self._ttl = ttl
        self._remembered = remembered
        self._clock = clock
        self._new_code = new_code
        self._new_grant_id = new_grant_id
        self._end_grant = end_grant
        self._emit = emit

    async def issue(self, asked: AuthorizationRequest, username: str, scope: tuple[str, ...]) -> str:
        """A code that lets the client have a token of this user. Raises `StoreUnavailable`."""
        target = asked.target
        code = self._new_code()
        kept = Kept(
            client_id=target.client.client_id,
            redirect_uri=target.redirect_uri if target.named else None,
            challenge=asked.challenge or "",  # which no verifier fits
            username=username,
            scope=scope,
            grant_id=self._new_grant_id(),
            ends=self._clock() + self._ttl,
        )
        await self._store.put(_key(code), json.dumps(kept._asdict()), self._ttl)
        return code

    async def __call__(self, client: Client, parameters: Parameters) -> Granted:
        """Redeem a code. Raises `Refused`: `INVALID_REQUEST`, `CODE_INVALID`, `CODE_REPLAYED`; `StoreUnavailable`."""
        for name in ("code", "code_verifier"):
            if name not in parameters:
                raise Refused(Reason.INVALID_REQUEST, f"The parameter {name} is missing.", client_id=client.client_id)
        key = _key(parameters["code"])
        text = await self._store.get(key)
        kept = None if text is None else Kept(**json.loads(text))
        if kept is None or kept.client_id != client.client_id:
            raise Refused(Reason.CODE_INVALID, client_id=client.client_id)
        if kept.spent:
            await self._replayed(kept)
        user = self._users.find(kept.username)
        if user is None or self._clock() >= kept.ends or not _fits(kept, parameters):
            raise Refused(Reason.CODE_INVALID, client_id=client.client_id)
        if not await self._store.once(f"{key}:spent", self._ttl + _IN_FLIGHT):
            await self._replayed(kept)
        await self._store.put(key, json.dumps(kept._replace(spent=True)._asdict()), self._remembered)
        return Granted(user.username, user.roles, tuple(kept.scope), grant_id=kept.grant_id)

    async def _replayed(self, kept: Kept) -> NoReturn:
        for jti in await self._end_grant(kept.grant_id, kept.client_id):
            self._emit(TokenRevoked(kept.client_id, jti))
        raise Refused(Reason.CODE_REPLAYED, client_id=kept.client_id)


def _fits(kept: Kept, parameters: Parameters) -> bool:
    sent = parameters.get("redirect_uri")
    if sent != kept.redirect_uri and not (sent is None and kept.redirect_uri is None):
        return False
    return verifies(parameters["code_verifier"], kept.challenge)


def _key(code: str) -> str:
    return f"code:{hashlib.sha256(code.encode('utf-8', 'surrogatepass')).hexdigest()}"
