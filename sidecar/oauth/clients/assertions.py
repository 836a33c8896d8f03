"""`private_key_jwt` and `client_secret_jwt` (RFC 7521 section 4.2, RFC 7523 section 2.2): an assertion in the body.

An assertion is accepted once, across all processes: the store keeps its `jti` until the assertion can no longer be accepted.
When the store cannot tell whether an assertion was used before, the client is not authenticated.
"""

from collections.abc import Callable

from sidecar.core.jose.assertions import ASSERTION_TYPE, AssertionRules
from sidecar.core.oauth.clients import Recognised
from sidecar.core.ports import Store
from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.parameters import Parameters


class AssertionAuthenticator:
    """Authenticates clients by their assertions. `clock` gives epoch seconds."""

    def __init__(self, rules: AssertionRules, *, store: Store, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._store = store
        self._clock = clock

    def __repr__(self) -> str:
        return f"<AssertionAuthenticator {self._rules}>"

    async def authenticate(self, parameters: Parameters) -> Recognised:
        """The client whose assertion is in `parameters`. Raises `Refused` and `StoreUnavailable`."""
        text, kind = parameters.get("client_assertion"), parameters.get("client_assertion_type")
        if text is None or kind is None:
            raise Refused(Reason.INVALID_REQUEST, "client_assertion and client_assertion_type belong together.")
        if kind != ASSERTION_TYPE:
            raise Refused(Reason.BAD_CLIENT_ASSERTION, f"client_assertion_type must be {ASSERTION_TYPE}.")
        now = self._clock()
        assertion = self._rules.read(text, now)
        if parameters.get("client_id", assertion.client_id) != assertion.client_id:
            raise Refused(Reason.INVALID_REQUEST, "client_id differs from the one in the client assertion.")
        recognised = self._rules.verify(assertion)
        if not await self._store.add(assertion.replay_key, assertion.remembered_for(now)):
            raise Refused(Reason.REPLAYED_CLIENT_ASSERTION, client_id=assertion.client_id)
        return recognised
