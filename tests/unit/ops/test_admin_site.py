"""The limit of the admin listener's connections, over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sidecar.ops.admin_site import MOST, AdminSite
from tests.support.waiting import eventually

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listening:
    """A server that answers `GET /`."""

    def __init__(self, sock: socket.socket, runner: web.AppRunner) -> None:
        self._address = sock.getsockname()
        self.runner = runner

    async def connect(self) -> Connection:
        return await asyncio.open_connection(*self._address)

    async def connect_silently(self, count: int) -> list[Connection]:
        """Connections that begin a request and do not end it."""
        made = [await self.connect() for _ in range(count)]
        for _, writer in made:
            writer.write(b"GET / HT")
        return made

    @property
    def count(self) -> int:
        server = self.runner.server
        assert server is not None
        return len(server.connections)


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.add_routes([web.get("/", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        await AdminSite(runner, sock).start()
        yield Listening(sock, runner)
        await runner.cleanup()


async def ask(connection: Connection) -> bytes:
    reader, writer = connection
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(5):
        return await reader.readline()


async def test_those_who_say_nothing_hold_only_so_many_connections(listening: Listening) -> None:
    silent = await listening.connect_silently(3 * MOST)
    last = await listening.connect()
    assert await ask(last) == b"HTTP/1.1 200 OK\r\n"
    await eventually(lambda: listening.count == MOST)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await silent[0][0].read() == b""
    for _, writer in (*silent, last):
        writer.close()


async def test_fewer_connections_are_left_alone(listening: Listening) -> None:
    first, *others = [await listening.connect() for _ in range(MOST)]
    assert await ask(first) == b"HTTP/1.1 200 OK\r\n"
    assert listening.count == MOST
    for _, writer in (first, *others):
        writer.close()


async def test_nobody_can_connect_after_the_end(listening: Listening) -> None:
    await listening.runner.cleanup()
    with pytest.raises(ConnectionError):
        await listening.connect()
