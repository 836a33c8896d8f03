"""`POST /oauth/token` (RFC 6749 section 3.2): a client proves who it is and gets an access token.

Issuing needs no store: a token is signed and carries all that is to be known, so it works while Redis is down.
"""

from collections.abc import Callable

from sidecar.core.events import Listener, TokenIssued
from sidecar.core.grants import check_grant, narrow_scope
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, json_reply, refusal
from sidecar.core.tokens import TokenRules
from sidecar.oauth.client_auth import ClientAuthenticator
from sidecar.oauth.parameters import read_parameters


class TokenEndpoint:
    """Call it with a request. `clock` gives epoch seconds, `new_id` an unguessable `jti`."""

    def __init__(
        self,
        *,
        authenticator: ClientAuthenticator,
        rules: TokenRules,
        emit: Listener,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._authenticator = authenticator
        self._rules = rules
        self._emit = emit
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, request: EndpointRequest) -> Reply:
        """The answer of RFC 6749 section 5.1, or the error of section 5.2."""
        if request.method != "POST":
            return refusal(Reason.METHOD_NOT_ALLOWED, "Only POST is answered here.", ("Allow", "POST"))
        try:
            return await self._issue(request)
        except Refused as exc:
            return self._authenticator.refuse(exc)

    async def _issue(self, request: EndpointRequest) -> Reply:
        parameters = read_parameters(request)
        client = await self._authenticator.authenticate(request, parameters)
        grant_type = check_grant(parameters.get("grant_type"), client)
        scope = narrow_scope(client, parameters.get("scope"))
        signed, token = self._rules.issue(client=client, scope=scope, now=self._clock(), jti=self._new_id())
        self._emit(TokenIssued(grant_type, client.client_id, token.jti))
        body = {
            "access_token": signed,
            "token_type": "Bearer",
            "expires_in": token.exp - token.iat,
            "scope": " ".join(scope),
        }
        return json_reply(200, body, ("Pragma", "no-cache"), client_id=client.client_id)
