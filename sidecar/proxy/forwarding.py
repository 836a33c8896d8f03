"""The head of a request as it goes on to the API."""

from sidecar.core.http.forwarded import forwarded_block
from sidecar.core.http.request_headers import RequestHeaders
from sidecar.core.reasons import Reason, Refused
from sidecar.proxy.answering import Answering
from sidecar.proxy.exchange import Exchange


def request_line(exchange: Exchange, path: str, query: str | None) -> bytes:
    """For a path, and a query if there is one."""
    method = exchange.message.method
    return (f"{method} {path} HTTP/1.1\r\n" if query is None else f"{method} {path}?{query} HTTP/1.1\r\n").encode()


def forwarded(exchange: Exchange, headers: RequestHeaders) -> bytes:
    """What tells the API of the client and of the proxies before us."""
    connection = exchange.connection
    return forwarded_block(
        headers.forwarded,
        trusted=connection.trusted,
        peer=connection.peer,
        scheme=connection.scheme,
        host=headers.host,
        certificate=connection.certificate,
    )


class Upgrades:
    """The requests of a worker that may become a tunnel, or are one: `switching`, at most `most`."""

    def __init__(self, switching: set[Answering], most: int) -> None:
        self._switching = switching
        self._most = most

    def ask(self, exchange: Exchange, headers: RequestHeaders) -> bytes:
        """Ask the upstream to switch, if the request can: without a body there is no doubt where the tunnel begins."""
        message = exchange.message
        plain = message.upgrade and message.version == (1, 1) and not headers.framing and not headers.expects_continue
        if not plain or exchange.connection.spoke_early:
            return b""
        if len(self._switching) >= self._most:
            raise Refused(Reason.OVERLOADED, "There are too many tunnels; try again.")
        exchange.upgrade = headers.upgrade
        self._switching.add(exchange)  # from now on: the answers to any number of them may come at the same time
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % headers.upgrade
