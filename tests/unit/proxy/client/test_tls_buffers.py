"""proxy.client.tls_buffers: this uvloop has the parts that are looked for, and the connection works without what was given
back."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from sidecar.proxy.client.tls_buffers import carrier, give_back
from tests.support.certificates import Authority
from tests.support.transport import Pipe
from tests.support.waiting import eventually

MUCH: Final = 8 * 1024**2


class Server(asyncio.Protocol):
    """Notes what arrives."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data


def over_tls(folder: Path, go: Callable[[Server, ssl.SSLSocket], Any]) -> None:
    """Run `go` with a TLS connection of uvloop and its client."""
    authority = Authority(folder)
    pair = authority.issue("server", "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    async def run() -> None:
        ours, theirs = socket.socketpair()
        loop, server = asyncio.get_running_loop(), Server()
        client = loop.create_task(
            asyncio.to_thread(authority.trusting().wrap_socket, theirs, server_hostname="localhost")
        )
        await loop.connect_accepted_socket(lambda: server, ours, ssl=context)
        with await client as connection:
            try:
                await go(server, connection)
            finally:
                server.transport.abort()

    uvloop.run(asyncio.wait_for(run(), 30))


def test_the_carrier_knows_what_the_client_has_not_taken(tmp_path: Path) -> None:
    async def go(server: Server, client: ssl.SSLSocket) -> None:
        beneath = carrier(server.transport)
        assert beneath is not None
        assert beneath is not server.transport
        server.transport.write(bytes(MUCH))
        await asyncio.sleep(0)
        assert beneath.get_write_buffer_size() > MUCH // 4
        await asyncio.to_thread(_take, client, MUCH)
        await eventually(lambda: beneath.get_write_buffer_size() == 0)

    over_tls(tmp_path, go)


def _take(client: ssl.SSLSocket, size: int) -> None:
    while size > 0:
        size -= len(client.recv(65536))


def test_the_buffer_can_be_given_back_between_reads(tmp_path: Path) -> None:
    async def go(server: Server, client: ssl.SSLSocket) -> None:
        sent = b""
        for number in range(4):
            data = bytes([65 + number]) * 200_000
            sent += data
            await asyncio.to_thread(client.sendall, data)
            await eventually(partial(_has, server, len(sent)))
            assert give_back(server.transport) > 200_000
        assert server.received == sent

    over_tls(tmp_path, go)


def _has(server: Server, size: int) -> bool:
    return len(server.received) == size


def test_where_nothing_is_found_nothing_is_done() -> None:
    assert carrier(Pipe()) is None
    assert give_back(Pipe()) == 0
    assert give_back(Pipe(**{"uvloop.sslproto": object()})) == 0
