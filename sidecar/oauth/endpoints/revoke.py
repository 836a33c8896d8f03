"""`POST /oauth/revoke` (RFC 7009): a client revokes one of its own tokens.

Rules:
- Revoking a refresh token revokes its whole grant, access tokens too (section 2.1). Any token of the family works, even a used
  one. When the store has forgotten a grant of type `client_credentials`, its first refresh token still revokes the access token
  that was issued with it (`core.oauth.refresh_tokens`).
- Revoking an access token revokes nothing else: the client may continue with its refresh token.
- 200 means that no process accepts the token any more: it was revoked, had expired, or was not issued by this sidecar.
- A token of another client is refused and stays valid (section 2.1).
- When the store did not accept the revocation the answer is 503, never 200: the client must try again.
"""

from collections.abc import Callable, Sequence

from sidecar.core.events import EventHandler, TokenRevoked
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.refresh_tokens import Outcome, family_key, first_access
from sidecar.core.past import MOST_AHEAD
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import NO_STORE, EndpointRequest, Reply
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.oauth.answering import JsonRefusing, answer
from sidecar.oauth.clients.throttle import Authenticator
from sidecar.oauth.parameters import read_parameters


class RevokeEndpoint:
    """Call it with a request. `keys` gives the keys that derive successors (`core.oauth.refresh_tokens.derived_key`); `clock`
    gives epoch seconds."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        rules: TokenRules,
        store: Store,
        keys: Callable[[], Sequence[bytes]],
        emit: EventHandler,
        clock: Callable[[], float],
    ) -> None:
        self._authenticator = authenticator
        self._refusing = JsonRefusing(authenticator.refuse)
        self._rules = rules
        self._store = store
        self._keys = keys
        self._emit = emit
        self._clock = clock

    async def __call__(self, request: EndpointRequest) -> Reply:
        """200 with no body, or an error of RFC 6749 section 5.2."""
        return await answer(request, self._revoke, methods=("POST",), refusing=self._refusing)

    async def _revoke(self, request: EndpointRequest) -> Reply:
        parameters = read_parameters(request)
        client = await self._authenticator.authenticate(request, parameters)
        if "token" not in parameters:
            raise Refused(Reason.INVALID_REQUEST, "The parameter token is missing.", client_id=client.client_id)
        family = family_key(parameters["token"])
        if family is None:
            await self._revoke_access(client, parameters["token"])
        else:
            await self._end_family(client, family, parameters["token"])
        return Reply(200, (NO_STORE,), b"", None, client.client_id)

    async def _end_family(self, client: Client, key: str, token: str) -> None:
        end = await self._store.end_family(key, client.client_id)
        if end.outcome is Outcome.FOREIGN:
            raise Refused(Reason.FOREIGN_TOKEN, client_id=client.client_id)
        for jti in end.revoked:
            self._emit(TokenRevoked(client.client_id, jti))
        if end.outcome is Outcome.UNKNOWN:
            await self._end_first(client, token)

    async def _end_first(self, client: Client, token: str) -> None:
        jti = first_access(token, client.client_id, self._keys())
        if jti is not None:
            await self._store.revoke(jti, self._rules.remembered_until(self._clock()))
            self._emit(TokenRevoked(client.client_id, jti))

    async def _revoke_access(self, client: Client, text: str) -> None:
        token = self._known(text)
        if token is None:
            return
        if token.client_id != client.client_id:
            raise Refused(Reason.FOREIGN_TOKEN, client_id=client.client_id)
        if self._clock() < token.remembered_until + MOST_AHEAD:  # by another clock it may not have expired
            await self._store.revoke(token.jti, token.remembered_until)
            self._emit(TokenRevoked(client.client_id, token.jti))

    def _known(self, token: str) -> AccessToken | None:
        try:
            return self._rules.read_signed(token)
        except Refused:
            return None
