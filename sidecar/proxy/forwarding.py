"""The head of a request as it is forwarded to the API."""

from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.answering import Answering
from sidecar.proxy.exchange import Exchange


def request_line(exchange: Exchange, path: str, query: str | None) -> bytes:
    """The request line for a path, and a query if there is one."""
    method = exchange.message.method
    return (f"{method} {path} HTTP/1.1\r\n" if query is None else f"{method} {path}?{query} HTTP/1.1\r\n").encode()


class Upgrades:
    """The exchanges of a worker that are or may become a tunnel: `switching`, at most `most`."""

    def __init__(self, switching: set[Answering], most: int) -> None:
        self._switching = switching
        self.most = most

    def ask(self, exchange: Exchange, headers: RequestHeaders) -> bytes:
        """The fields that ask the upstream to switch protocols, if the request allows it; only without a body is it certain
        where the tunnel begins. Raises `Refused` when there are too many tunnels."""
        message = exchange.message
        plain = message.upgrade and message.version == (1, 1) and not headers.framing and not headers.expects_continue
        if not plain or exchange.connection.spoke_early:
            return b""
        if len(self._switching) >= self.most:
            raise Refused(Reason.OVERLOADED, "There are too many tunnels; try again.")
        exchange.upgrade = headers.upgrade
        self._switching.add(exchange)  # from now on: any number of 101 responses may arrive at the same time
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % headers.upgrade
