"""An upstream that speaks TLS."""

import socket
import ssl
from pathlib import Path
from typing import Any

from tests.support.certificates import Pair
from tests.support.upstream import Upstream


class TlsUpstream(Upstream):
    """An upstream that speaks TLS; `names` are what clients asked for."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.names: list[str | None] = []
        self.peers: list[Any] = []
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self._context = context
        super().__init__()
        self.url = self.url.replace("http://", "https://")

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            wrapped = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        self.peers.append(wrapped.getpeercert())
        super()._serve(wrapped, number)


def server_side(pair: Pair, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
