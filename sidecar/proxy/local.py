"""Requests for the sidecar's own endpoints."""

from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.core.events import Decision
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.forwarded import client_address
from sidecar.core.http.paths import RequestTarget
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.oauth.endpoint_paths import label_of
from sidecar.core.policy import Route
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.refusing import refuse
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from sidecar.proxy.request_body import read_at_hand
from sidecar.proxy.rules import RequestRules

_Begin = Callable[[EndpointRequest], Reply | Awaitable[Reply]]
_Ask = Callable[[bytes], Reply | Awaitable[Reply]]
"""Asks an endpoint, when the body is there."""

_BODY: Final = 64 * 1024


class LocalEndpoints:
    """Passes requests to the endpoints. `log_failure` reports a defect of the sidecar."""

    def __init__(self, log_failure: Callable[[str, Exception], None]) -> None:
        self._log_failure = log_failure

    def answer(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, route: Route, headers: RequestHeaders
    ) -> None:
        """Answer the request, or a CORS preflight for it. Raises `Refused` when too many requests wait."""
        exchange.decision = Decision.LOCAL
        exchange.endpoint = label_of(route.path)
        raw = _fields(exchange)
        if share(exchange, route.path, raw):
            return
        connection = exchange.connection
        sender = client_address(headers.forwarded, peer=connection.peer, trusts=connection.manager.trusts)
        endpoint = rules.endpoints[route.path]
        begin: _Begin = getattr(endpoint, "begin", endpoint)  # see PromptEndpoint
        method, query = exchange.message.method, target.query or ""

        def ask(body: bytes) -> Reply | Awaitable[Reply]:
            return begin(EndpointRequest(method, target.path, query, raw, body, sender))

        exchange.await_body()
        if exchange.waiting:
            exchange.task = connection.loop.create_task(self._wait(exchange, ask))
        else:
            self._begin(exchange, ask)

    def _begin(self, exchange: Exchange, ask: _Ask) -> None:
        """Answer a request whose body has arrived: at once, or in a task if the endpoint has to wait for something."""
        try:
            begun = ask(read_at_hand(exchange.payload, _BODY))
            if isinstance(begun, Reply):
                exchange.respond(begun)
            else:
                exchange.task = exchange.connection.loop.create_task(self._finish(exchange, begun))
        except Exception as exc:  # noqa: BLE001  see _fail
            self._fail(exchange, exc)

    async def _wait(self, exchange: Exchange, ask: _Ask) -> None:
        try:
            begun = ask(await exchange.read_body(_BODY))
            exchange.respond(begun if isinstance(begun, Reply) else await begun)
        except Exception as exc:  # noqa: BLE001  see _fail
            self._fail(exchange, exc)

    async def _finish(self, exchange: Exchange, begun: Awaitable[Reply]) -> None:
        try:
            exchange.respond(await begun)
        except Exception as exc:  # noqa: BLE001  see _fail
            self._fail(exchange, exc)

    def _fail(self, exchange: Exchange, exc: Exception) -> None:
        """Answer what was raised: a defect of the sidecar must not end a task or a connection unnoticed."""
        if isinstance(exc, Refused):
            refuse(exchange, exc)
        elif isinstance(exc, BodyTooLarge):
            exchange.refuse(Reason.BODY_TOO_LARGE)
        elif isinstance(exc, RequestBroken):
            exchange.refuse(Reason.MALFORMED_REQUEST)
        else:
            self._log_failure("endpoint", exc)
            exchange.refuse(Reason.INTERNAL)


def share(exchange: Exchange, path: str, headers: Fields | None = None) -> bool:
    """Let a page of another origin read the response at `path`, if allowed. Returns whether the request was a preflight and
    is answered. `headers` are its fields, if they were decoded already."""
    sharing = exchange.rules.sharing.get(path)
    if sharing is None:
        return False
    headers = _fields(exchange) if headers is None else headers
    exchange.shared = sharing.fields(headers)
    preflight = sharing.preflight(exchange.message.method, headers)
    if preflight is not None:
        exchange.decision = Decision.LOCAL
        exchange.respond(preflight)
    return preflight is not None


def _fields(exchange: Exchange) -> Fields:
    return tuple([(n.decode("latin-1"), v.decode("latin-1")) for n, v in exchange.message.raw_headers])
