"""`POST /oauth/revoke` (RFC 7009): a client ends one of its own tokens.

Rules:
- 200 says that the token is no longer accepted anywhere: it was revoked, had expired, or never was ours.
- A token of another client is refused and stays valid (section 2.1).
- When the store did not take the revocation the answer is 503, never 200: the client must try again.
"""

from collections.abc import Callable

from sidecar.core.events import Listener, TokenRevoked
from sidecar.core.ports import RevocationStore, StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import NO_STORE, EndpointRequest, Reply, refusal
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.oauth.client_auth import ClientAuthenticator
from sidecar.oauth.parameters import read_parameters


class RevokeEndpoint:
    """Call it with a request. `clock` gives epoch seconds."""

    def __init__(
        self,
        *,
        authenticator: ClientAuthenticator,
        rules: TokenRules,
        store: RevocationStore,
        emit: Listener,
        clock: Callable[[], float],
    ) -> None:
        self._authenticator = authenticator
        self._rules = rules
        self._store = store
        self._emit = emit
        self._clock = clock

    async def __call__(self, request: EndpointRequest) -> Reply:
        """200 with no body, or an error of RFC 6749 section 5.2."""
        if request.method != "POST":
            return refusal(Reason.METHOD_NOT_ALLOWED, "Only POST is answered here.", ("Allow", "POST"))
        try:
            return await self._revoke(request)
        except Refused as exc:
            return self._authenticator.refuse(exc)
        except StoreUnavailable:
            return refusal(Reason.TOKEN_STORE_UNAVAILABLE)

    async def _revoke(self, request: EndpointRequest) -> Reply:
        parameters = read_parameters(request)
        client = await self._authenticator.authenticate(request, parameters)
        if "token" not in parameters:
            raise Refused(Reason.INVALID_REQUEST, "The parameter token is missing.")
        token = self._known(parameters["token"])
        if token is not None:
            if token.client_id != client.client_id:
                raise Refused(Reason.FOREIGN_TOKEN, client_id=client.client_id)
            if self._clock() < token.remembered_until:
                await self._store.revoke(token.jti, token.remembered_until)
                self._emit(TokenRevoked(client.client_id, token.jti))
        return Reply(200, (NO_STORE,), b"", None, client.client_id)

    def _known(self, token: str) -> AccessToken | None:
        try:
            return self._rules.read_signed(token)
        except Refused:
            return None
