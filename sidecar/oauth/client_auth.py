"""Client authentication at our endpoints: HTTP Basic or parameters in the body, one of them (RFC 6749 section 2.3).

The token endpoint must not become a way to burn our CPU: slow hashes run one at a time in a thread of their own, and when
too many wait the answer is 429. A client that was recognised before does not have to queue (`core.clients`).
"""

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, NoReturn

from sidecar.core.clients import AuthMethod, Client, ClientRegistry
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal
from sidecar.oauth.parameters import Parameters, form_decoded

_MAX_WAITING: Final = 16


class Claimed(NamedTuple):
    """Who a request says it comes from. `secrets` are the readings of one secret."""

    client_id: str
    secrets: tuple[str, ...]
    method: AuthMethod


class ClientAuthenticator:
    """Finds out which client sent a request. `close` ends its thread."""

    def __init__(self, registry: ClientRegistry, *, realm: str) -> None:
        self._registry = registry
        self._challenge = ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="client-secrets")
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<ClientAuthenticator {self._waiting} waiting>"

    async def authenticate(self, request: EndpointRequest, parameters: Parameters) -> Client:
        """The client. Raises `Refused`: `INVALID_REQUEST`, `UNKNOWN_CLIENT`, `BAD_CLIENT_SECRET`, `CLIENT_DISABLED`,
        `THROTTLED`."""
        claimed = self._claimed(request, parameters)
        recognised = self._registry.recall(*claimed)
        if recognised is not None:
            return recognised.client
        if self._waiting >= _MAX_WAITING:
            raise Refused(Reason.THROTTLED)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(self._thread, self._registry.authenticate, *claimed)).client
        finally:
            self._waiting -= 1

    def refuse(self, refused: Refused) -> Reply:
        """The reply to a failed authentication, with the challenge that a 401 needs (RFC 9110 section 11.6.1)."""
        challenge = (self._challenge,) if refused.reason.error == "invalid_client" else ()
        return refusal(refused.reason, refused.detail, *challenge, client_id=refused.client_id)

    def close(self) -> None:
        """End the thread; what waits is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _claimed(self, request: EndpointRequest, parameters: Parameters) -> Claimed:
        headers = request.header_values("authorization")
        client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
        if len(headers) > 1:
            raise Refused(Reason.INVALID_REQUEST, "More than one Authorization header was sent.")
        if not headers:
            if client_id is None or secret is None:
                _unauthenticated("Client authentication is missing: send HTTP Basic, or client_id and client_secret.")
            return Claimed(client_id, (secret,), "client_secret_post")
        if secret is not None:
            raise Refused(Reason.INVALID_REQUEST, "The client authenticated in two ways.")
        claimed = self._from_basic(headers[0])
        if client_id is not None and client_id != claimed.client_id:
            raise Refused(Reason.INVALID_REQUEST, "client_id differs from the one in the Authorization header.")
        return claimed

    def _from_basic(self, header: str) -> Claimed:
        """Id and secret are form-encoded (RFC 6749 section 2.3.1), but many clients, curl too, send them as they are:
        where the two readings differ, the registry says which id is meant, and either reading of the secret will do."""
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() != "basic":
            _unauthenticated("The Authorization header must be Basic.")
        try:
            literal = base64.b64decode(credentials.strip(" "), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            _unauthenticated("The Basic credentials cannot be read.")
        client_id, colon, secret = literal.partition(":")
        if not colon:
            _unauthenticated("The Basic credentials cannot be read.")
        decoded_id = _decoded_or_same(client_id)
        chosen = decoded_id if self._registry.knows(decoded_id) else client_id
        readings = tuple(dict.fromkeys((_decoded_or_same(secret), secret)))
        return Claimed(chosen, readings, "client_secret_basic")


def _decoded_or_same(text: str) -> str:
    try:
        return form_decoded(text)
    except Refused:
        return text


def _unauthenticated(detail: str) -> NoReturn:
    raise Refused(Reason.UNKNOWN_CLIENT, detail)
