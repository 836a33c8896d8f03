"""`POST /oauth/token` (RFC 6749 section 3.2): a client authenticates and gets an access token.

The client credentials grant needs no store: an access token is signed and self-contained, so the grant works while Redis is
down. A client that also gets refresh tokens needs the store, which keeps their state.
"""

from collections.abc import Awaitable, Callable, Mapping

from sidecar.core.events import EventHandler, TokenIssued
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import Granted, check_grant, narrow_scope
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, json_reply
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.oauth.answering import JsonRefusing, answer
from sidecar.oauth.clients.throttle import Authenticator
from sidecar.oauth.grants.refresh_token import RefreshTokens
from sidecar.oauth.parameters import Parameters, read_parameters

Grant = Callable[[Client, Parameters], Awaitable[Granted]]
"""The handler of a grant type, for a client that has authenticated and may use it. Raises `Refused`, `StoreUnavailable`."""


async def client_credentials(client: Client, parameters: Parameters) -> Granted:
    """The grant of RFC 6749 section 4.4: the client acts for itself."""
    return Granted(client.client_id, client.roles, narrow_scope(client, parameters.get("scope")))


class TokenEndpoint:
    """Call it with a request. `grants` has the handler of each `grant_type`; `clock` gives epoch seconds, `new_id` an
    unguessable `jti`."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        grants: Mapping[str, Grant],
        refresh: RefreshTokens,
        rules: TokenRules,
        view: RevocationView,
        emit: EventHandler,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._authenticator = authenticator
        self._refusing = JsonRefusing(authenticator.refuse)
        self._grants = grants
        self._refresh = refresh
        self._rules = rules
        self._view = view
        self._emit = emit
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, request: EndpointRequest) -> Reply:
        """The response of RFC 6749 section 5.1, or an error of section 5.2."""
        return await answer(request, self._issue, methods=("POST",), refusing=self._refusing)

    async def _issue(self, request: EndpointRequest) -> Reply:
        parameters = read_parameters(request)
        client = await self._authenticator.authenticate(request, parameters)
        grant_type = check_grant(parameters.get("grant_type"), client, self._grants)
        granted = self._refresh.name(client, await self._grants[grant_type](client, parameters))
        signed, access = self._sign(client, granted)
        body: dict[str, object] = {
            "access_token": signed,
            "token_type": "Bearer",
            "expires_in": access.exp - access.iat,
            "scope": " ".join(access.scope),
        }
        successor = granted.successor
        refresh_token = successor.token if successor else await self._refresh.begin(client, granted, access)
        if refresh_token is not None:
            body["refresh_token"] = refresh_token
        self._emit(TokenIssued(grant_type, client.client_id, access.jti, access.user))
        return json_reply(200, body, ("Pragma", "no-cache"), client_id=client.client_id)

    def _sign(self, client: Client, granted: Granted) -> tuple[str, AccessToken]:
        if granted.successor:
            _, jti, now = granted.successor
        else:
            jti, now = granted.jti or self._new_id(), self._clock()
            if granted.since is None:
                now = self._view.issue_time(client.client_id, granted.subject, now)
            elif self._view.issued_too_early(client.client_id, granted.subject, granted.since):
                raise Refused(Reason.GRANT_REVOKED, client_id=client.client_id, user=granted.subject)
        return self._rules.issue(
            client_id=client.client_id,
            subject=granted.subject,
            roles=granted.roles,
            scope=granted.scope,
            now=now,
            jti=jti,
        )
