"""`POST /oauth/introspect` (RFC 7662): an authorized client learns whether a token is active, and what it allows.

Rules:
- The callers are APIs, so a client with `introspect` may ask about the tokens of every client. Other clients may not ask.
- A token that is not active is answered with `{"active": false}` and nothing more (section 2.2), whether it is expired,
  revoked, of another issuer, or no token at all. The caller cannot tell which.
- `token_type_hint` has no effect, because access and refresh tokens differ in their form.
- An answer is as current as the revocation view that admits requests. When the view is stale the answer is 503.
"""

from collections.abc import Callable

from sidecar.core.admission import AdmissionRules, VerifiedToken, knows_enough, objection
from sidecar.core.digests import digest
from sidecar.core.oauth.clients import ClientRegistry
from sidecar.core.oauth.grants import REFRESH_TOKEN
from sidecar.core.oauth.refresh_tokens import family_key
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.reasons import TRY_THE_SAME_AGAIN, Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, json_reply
from sidecar.core.revocations import RevocationView, family_end
from sidecar.core.tokens import TokenRules
from sidecar.oauth.answering import JsonRefusing, answer
from sidecar.oauth.clients.throttle import Authenticator
from sidecar.oauth.parameters import read_parameters

Description = dict[str, object]
_INACTIVE: Description = {"active": False}


class IntrospectEndpoint:
    """Call it with a request. `clock` gives epoch seconds, `monotonic` monotonic seconds."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        clients: ClientRegistry,
        rules: TokenRules,
        admission: AdmissionRules,
        store: Store,
        view: RevocationView,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._authenticator = authenticator
        self._refusing = JsonRefusing(authenticator.refuse)
        self._clients = clients
        self._rules = rules
        self._admission = admission
        self._store = store
        self._view = view
        self._clock = clock
        self._monotonic = monotonic

    async def __call__(self, request: EndpointRequest) -> Reply:
        """The answer of RFC 7662 section 2.2, or an error of section 2.3."""
        return await answer(request, self._answer, methods=("POST",), refusing=self._refusing)

    async def _answer(self, request: EndpointRequest) -> Reply:
        parameters = read_parameters(request)
        client = await self._authenticator.authenticate(request, parameters)
        if not client.introspect:
            raise Refused(Reason.MAY_NOT_INTROSPECT, client_id=client.client_id)
        if "token" not in parameters:
            raise Refused(Reason.INVALID_REQUEST, "The parameter token is missing.", client_id=client.client_id)
        if not knows_enough(None, self._admission, self._view, self._monotonic()):
            raise Refused(Reason.STORE_UNAVAILABLE, TRY_THE_SAME_AGAIN, client_id=client.client_id)
        token = parameters["token"]
        key = family_key(token)
        described = self._access(token) if key is None else await self._refresh(key, token)
        return json_reply(200, described or _INACTIVE, client_id=client.client_id)

    def _access(self, token: str) -> Description | None:
        """Describe an access token; `None` when the sidecar would not admit it. Raises `StoreUnavailable`."""
        try:
            access = self._rules.read(token, self._clock())
        except Refused:
            return None
        moments = self._clock(), self._monotonic()
        reason = objection(VerifiedToken(access), None, self._admission, self._view, *moments)
        if reason is Reason.STORE_UNAVAILABLE:
            raise StoreUnavailable("the revocation view is stale")
        if reason is not None:
            return None
        return {
            "active": True,
            "scope": " ".join(access.scope),
            "client_id": access.client_id,
            "token_type": "Bearer",
            "token_use": "access_token",
            "exp": access.exp,
            "iat": access.iat,
            "sub": access.sub,
            "aud": self._rules.audience,
            "iss": self._rules.issuer,
            "jti": access.jti,
            "roles": list(access.roles),
        }

    async def _refresh(self, key: str, token: str) -> Description | None:
        """Describe a refresh token; `None` when it would give no access token. A used token is not active: it can only repeat
        its refresh."""
        if family_end(key) in self._view:  # the store may have lost it
            return None
        state = await self._store.read_family(key)
        if state is None or state.current != digest(token) or not state.alive(self._clock()):
            return None
        family = state.family
        client = self._clients.find(family.client_id)
        usable = client is not None and not client.disabled and REFRESH_TOKEN in client.grant_types
        if not usable or self._view.issued_too_early(family.client_id, family.subject, family.issued):
            return None
        return {
            "active": True,
            "scope": " ".join(family.scope),
            "client_id": family.client_id,
            "token_use": REFRESH_TOKEN,
            "exp": int(min(family.ends, state.idle_end)),
            "iat": family.issued,
            "sub": family.subject,
            "iss": self._rules.issuer,
        }
