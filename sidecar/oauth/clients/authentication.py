"""Client authentication at the sidecar's endpoints: HTTP Basic, a secret or an assertion in the body, or the `client_id` of a
public client alone. A request uses exactly one of them (RFC 6749 section 2.3); the registry says which ones a client may use
(`core.oauth.clients`).

Callers of the token endpoint must not be able to exhaust the CPU: slow hashes run one at a time in a thread of their own, and
when too many wait the answer is 429. A client that was recognised before does not have to queue (`core.oauth.clients`).
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, NoReturn

from sidecar.core.oauth.clients import PUBLIC, AuthMethod, Client, ClientRegistry, Recognised
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal
from sidecar.oauth.clients.assertions import AssertionAuthenticator
from sidecar.oauth.clients.basic import InvalidBasic, basic_credentials
from sidecar.oauth.parameters import Parameters, form_decoded
from sidecar.oauth.slow_hashes import SlowHashes

_ASSERTION: Final = ("client_assertion", "client_assertion_type")
_MISSING: Final = (
    "Client authentication is missing: send HTTP Basic, client_id and client_secret, or a client assertion."
)


class Claimed(NamedTuple):
    """The client that a request claims to come from. `secrets` are the possible decodings of one secret."""

    client_id: str
    secrets: tuple[str, ...]
    method: AuthMethod


class ClientAuthenticator:
    """Authenticates the client that sent a request. `hashes` checks the secrets whose hash is slow.

    Without `assertions`, assertions are refused. `on_recognised` is called for every client that has authenticated.
    """

    def __init__(
        self,
        registry: ClientRegistry,
        *,
        hashes: SlowHashes,
        realm: str,
        assertions: AssertionAuthenticator | None = None,
        on_recognised: Callable[[Recognised], None] | None = None,
    ) -> None:
        self._registry = registry
        self._assertions = assertions
        self._on_recognised = on_recognised
        self._challenge = ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')
        self._hashes = hashes

    def __repr__(self) -> str:
        return f"<ClientAuthenticator {self._hashes}>"

    async def authenticate(self, request: EndpointRequest, parameters: Parameters) -> Client:
        """The client. Raises `StoreUnavailable` when the store cannot tell whether an assertion was used before, and `Refused`
        (`INVALID_REQUEST`, `UNKNOWN_CLIENT`, `BAD_CLIENT_SECRET`, `BAD_CLIENT_ASSERTION`, `REPLAYED_CLIENT_ASSERTION`,
        `WRONG_AUTH_METHOD`, `CLIENT_DISABLED`, `THROTTLED`)."""
        begun = self.begin(request, parameters)
        return begun if isinstance(begun, Client) else await begun

    def begin(self, request: EndpointRequest, parameters: Parameters) -> Client | Awaitable[Client]:
        """The client, if nothing has to be waited for, else what gives it. Both raise as `authenticate` does."""
        found = self._recognise(request, parameters)
        return self._noted(found) if isinstance(found, Recognised) else self._wait(found)

    async def _wait(self, found: Awaitable[Recognised]) -> Client:
        return self._noted(await found)

    def _noted(self, recognised: Recognised) -> Client:
        if self._on_recognised is not None:
            self._on_recognised(recognised)
        return recognised.client

    def name(self, claimed: str) -> str | None:
        """The claimed `client_id`, for the log; `None` when there is no such client."""
        return self._registry.name(claimed)

    def _recognise(self, request: EndpointRequest, parameters: Parameters) -> Recognised | Awaitable[Recognised]:
        headers = request.header_values("authorization")
        if headers:
            headers = [value for value in headers if value.strip()]
        if len(headers) > 1:
            raise Refused(Reason.INVALID_REQUEST, "More than one Authorization header was sent.")
        asserted = not parameters.keys().isdisjoint(_ASSERTION)
        if bool(headers) + ("client_secret" in parameters) + asserted > 1:
            raise Refused(Reason.INVALID_REQUEST, "The client authenticated in two ways.")
        if asserted:
            if self._assertions is None:
                raise Refused(Reason.BAD_CLIENT_ASSERTION)
            return self._assertions.authenticate(parameters)
        if headers:
            return self._by_secret(self._from_basic(headers[0], parameters), request.peer)
        if "client_secret" in parameters:
            return self._by_secret(_from_body(parameters), request.peer)
        return self._public(parameters)

    def _by_secret(self, claimed: Claimed, peer: str) -> Recognised | Awaitable[Recognised]:
        recognised = self._registry.recall(*claimed)
        if recognised is not None:
            return recognised
        name = self.name(claimed.client_id)
        return self._hashes.run(self._registry.authenticate, *claimed, peer=peer, client_id=name)

    def _public(self, parameters: Parameters) -> Recognised:
        """A public client sends only its `client_id`. Any other client that does so gets the same answer as an unknown one."""
        client = self._registry.find(parameters.get("client_id", ""))
        if client is None:
            _unauthenticated(_MISSING)
        try:
            return self._registry.admit(client, PUBLIC)
        except Refused as refused:
            raise Refused(refused.reason, _MISSING, client_id=refused.client_id) from None

    def refuse(self, refused: Refused) -> Reply:
        """The reply to a failed authentication, with the challenge that a 401 needs (RFC 9110 section 11.6.1)."""
        challenge = (self._challenge,) if refused.reason.error == "invalid_client" else ()
        return refusal(refused.reason, refused.detail, *challenge, client_id=refused.client_id, user=refused.user)

    def _from_basic(self, header: str, parameters: Parameters) -> Claimed:
        """RFC 6749 section 2.3.1 has the client form-encode id and secret, but many clients, such as curl, do not. When the
        decoded and the literal value differ, the registry decides which id is meant, and either value of the secret works."""
        try:
            client_id, secret = basic_credentials(header)
        except InvalidBasic as exc:
            _unauthenticated(str(exc))
        decoded_id = _decoded_or_same(client_id)
        chosen = decoded_id if self._registry.knows(decoded_id) else client_id
        if parameters.get("client_id", chosen) != chosen:
            raise Refused(Reason.INVALID_REQUEST, "client_id differs from the one in the Authorization header.")
        readings = tuple(dict.fromkeys((_decoded_or_same(secret), secret)))
        return Claimed(chosen, readings, "client_secret_basic")


def _from_body(parameters: Parameters) -> Claimed:
    if "client_id" not in parameters:
        _unauthenticated(_MISSING)
    return Claimed(parameters["client_id"], (parameters["client_secret"],), "client_secret_post")


def _decoded_or_same(text: str) -> str:
    try:
        return form_decoded(text)
    except Refused:
        return text


def _unauthenticated(detail: str) -> NoReturn:
    raise Refused(Reason.UNKNOWN_CLIENT, detail)
