"""`POST /oauth/token` (RFC 6749 section 3.2): a client authenticates and gets an access token.

The client credentials grant needs no store: an access token is signed and self-contained, so the grant works while Redis is
down. A client that also gets refresh tokens needs the store, which keeps their state.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final

from sidecar.core.digests import digest
from sidecar.core.events import EventHandler, TokenIssued
from sidecar.core.oauth.clients import Client
from sidecar.core.oauth.grants import Granted, check_grant, narrow_scope
from sidecar.core.oauth.refresh_tokens import access_id
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import JSON, NO_STORE, EndpointRequest, Reply
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.oauth.answering import JsonRefusing, settled
from sidecar.oauth.clients.throttle import Authenticator
from sidecar.oauth.grants.refresh_token import RefreshTokens
from sidecar.oauth.parameters import Parameters, read_parameters

Grant = Callable[[Client, Parameters], Granted | Awaitable[Granted]]
"""The handler of a grant type, for a client that has authenticated and may use it. Raises `Refused`, `StoreUnavailable`."""

_METHODS: Final = ("POST",)
_HEADERS: Final = (JSON, NO_STORE, ("Pragma", "no-cache"))


def client_credentials(client: Client, parameters: Parameters) -> Granted:
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
        self._quick = rules.ring.quick

    async def __call__(self, request: EndpointRequest) -> Reply:
        """The response of RFC 6749 section 5.1, or an error of section 5.2."""
        begun = self.begin(request)
        return begun if isinstance(begun, Reply) else await begun

    def begin(self, request: EndpointRequest) -> Reply | Awaitable[Reply]:
        """The reply, if it needs neither a slow hash nor the store nor a slow signature, else what gives it. A client may send
        many requests at a time: slow signatures are left to tasks, so that others get their turn between them."""
        if request.method not in _METHODS:
            return self._refusing.not_allowed(_METHODS)
        try:
            parameters = read_parameters(request)
            client = self._authenticator.begin(request, parameters)
            if isinstance(client, Client):
                grant_type, granted = self._grant(client, parameters)
                if self._quick and isinstance(granted, Granted) and granted.grant_id is None:  # nothing to store
                    signed, access = self._sign(client, granted)
                    return self._issued(client, grant_type, signed, access, None)
                return settled(self._finish(client, grant_type, granted), self._refusing)
        except Refused as exc:
            return self._refusing.refuse(exc)
        return settled(self._wait(client, parameters), self._refusing)

    def _grant(self, client: Client, parameters: Parameters) -> tuple[str, Granted | Awaitable[Granted]]:
        """The grant type, and what is granted, or what gives that; the latter has no id yet."""
        grant_type = check_grant(parameters.get("grant_type"), client, self._grants)
        granted = self._grants[grant_type](client, parameters)
        return grant_type, self._refresh.name(client, granted) if isinstance(granted, Granted) else granted

    async def _wait(self, client: Awaitable[Client], parameters: Parameters) -> Reply:
        authenticated = await client
        return await self._finish(authenticated, *self._grant(authenticated, parameters))

    async def _finish(self, client: Client, grant_type: str, granted: Granted | Awaitable[Granted]) -> Reply:
        if not isinstance(granted, Granted):
            granted = self._refresh.name(client, await granted)
        signed, access = self._sign(client, granted)
        successor = granted.successor
        refresh_token = successor.token if successor else await self._refresh.begin(client, granted, access)
        return self._issued(client, grant_type, signed, access, refresh_token)

    def _issued(
        self, client: Client, grant_type: str, signed: str, access: AccessToken, refresh_token: str | None
    ) -> Reply:
        # What is encoded here has no character that JSON would escape.
        refreshing = "" if refresh_token is None else f', "refresh_token": "{refresh_token}"'
        body = f'{{"access_token": "{signed}", {_members(access.exp - access.iat, access.scope)}{refreshing}}}\n'
        self._emit(TokenIssued(grant_type, client.client_id, access.jti, access.user))
        return Reply(200, _HEADERS, body.encode(), None, client.client_id)

    def _sign(self, client: Client, granted: Granted) -> tuple[str, AccessToken]:
        if granted.successor:
            _, jti, now = granted.successor
        else:
            jti, now = granted.jti or self._new_jti(granted.grant_id), self._clock()
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

    def _new_jti(self, grant_id: str | None) -> str:
        unique = self._new_id()
        return unique if grant_id is None else access_id(digest(grant_id), unique)


@lru_cache(1024)
def _members(expires_in: int, scope: tuple[str, ...]) -> str:
    """The members of the response that many tokens have in common. `expires_in` is in seconds."""
    return json.dumps({"token_type": "Bearer", "expires_in": expires_in, "scope": " ".join(scope)})[1:-1]
