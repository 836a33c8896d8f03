"""Requests for the sidecar's own endpoints."""

from collections.abc import Callable
from typing import Final

from sidecar.core.events import Decision
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.forwarded import client_address
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.refusing import refuse
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from sidecar.proxy.rules import RequestRules, Routed

_BODY: Final = 64 * 1024


class LocalEndpoints:
    """Passes requests to the endpoints. `log_failure` reports a defect of the sidecar."""

    def __init__(self, log_failure: Callable[[str, Exception], None]) -> None:
        self._log_failure = log_failure

    def answer(self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders) -> None:
        """Answer the request, or a CORS preflight for it. Raises `Refused` when too many requests wait."""
        exchange.decision = Decision.LOCAL
        target = routed.target
        endpoint = rules.endpoints[routed.route.path]
        if share(exchange, routed.route.path):
            return
        raw = _fields(exchange)
        connection = exchange.connection
        sender = client_address(headers.forwarded, peer=connection.peer, trusts=connection.manager.trusts)

        async def work() -> None:
            try:
                body = await exchange.read_body(_BODY)
                request = EndpointRequest(exchange.message.method, target.path, target.query or "", raw, body, sender)
                exchange.respond(await endpoint(request))
            except Refused as exc:
                refuse(exchange, exc)
            except BodyTooLarge:
                exchange.refuse(Reason.BODY_TOO_LARGE)
            except RequestBroken:
                exchange.refuse(Reason.MALFORMED_REQUEST)
            except Exception as exc:  # noqa: BLE001  a defect of the sidecar must not end the connection's task unnoticed
                self._log_failure("endpoint", exc)
                exchange.refuse(Reason.INTERNAL)

        exchange.await_body()
        exchange.task = exchange.connection.loop.create_task(work())


def share(exchange: Exchange, path: str) -> bool:
    """Let a page of another origin read the response at `path`, if allowed. Returns whether the request was a preflight and
    is answered."""
    sharing = exchange.rules.sharing.get(path)
    if sharing is None:
        return False
    headers = _fields(exchange)
    exchange.shared = sharing.fields(headers)
    preflight = sharing.preflight(exchange.message.method, headers)
    if preflight is not None:
        exchange.decision = Decision.LOCAL
        exchange.respond(preflight)
    return preflight is not None


def _fields(exchange: Exchange) -> Fields:
    return tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in exchange.message.raw_headers)
