"""proxy.client.acceptor: what becomes of connections that wait at a listening socket, on loopback.

What a running process does with them: tests/e2e/test_behind_balancers.py and tests/e2e/test_pool_and_limits.py.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from sidecar.core.causes import Cause
from sidecar.core.reasons import Reason
from sidecar.proxy.client.acceptor import Acceptor
from tests.support.clients import Clients
from tests.support.waiting import eventually

GET: Final = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LOOPBACK: Final = [ipaddress.ip_network("127.0.0.0/8")]


class World:
    """An acceptor on a socket of its own; `paused` is what it said when accepting failed."""

    def __init__(self, *, introduced: bool = False, handshake: float = 5, **options: Any) -> None:
        self.clients = Clients(**options)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.paused: list[str] = []
        self.acceptor = Acceptor(
            self.clients.connections,
            self.socket,
            tls=None,
            handshake=handshake,
            introduced=introduced,
            on_pause=self.paused.append,
            log_failure=lambda part, exc: self.clients.defects.append(f"{part} {exc!r}"),
        )

    @property
    def peers(self) -> list[str]:
        return sorted(connection.peer for connection in self.clients.connections.connections)


@contextlib.asynccontextmanager
async def world(*, started: bool = True, **options: Any) -> AsyncIterator[World]:
    made = World(**options)
    if started:
        made.acceptor.start()
    try:
        yield made
    finally:
        made.acceptor.close(leave=True)
        await made.clients.connections.drain(0)
        await eventually(lambda: not made.clients.connections.connections)


async def test_connections_are_handed_on_and_their_requests_begin() -> None:
    async with world() as here:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(here.address)).sendall(GET)
            await eventually(lambda: len(here.clients.handler.requests) + len(here.clients.handler.turned_away) >= 10)
            assert here.clients.connections.present <= 10 + 9, "those for whom there is no room are closed"
            assert repr(here.acceptor) == "<Acceptor 0 arriving>"
        assert here.clients.defects == []


async def test_who_waits_when_it_closes_is_taken_in() -> None:
    """They were told that they are connected."""
    async with world(started=False) as here:
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(here.address))
            here.acceptor.close()
            here.acceptor.close()
            await eventually(lambda: len(here.clients.connections.connections) == 5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(here.address)


async def test_who_waits_is_left_to_another_process() -> None:
    async with world(started=False) as here:
        other = socket.socket(fileno=socket.dup(here.socket.fileno()))
        with other, socket.create_connection(here.address) as waiting:
            here.acceptor.close(leave=True)
            assert here.clients.connections.present == 0
            accepted, peer = await asyncio.get_running_loop().sock_accept(other)
            with accepted:
                assert peer == waiting.getsockname()


async def test_it_ends_with_the_socket_of_its_owner() -> None:
    async with world() as here:
        await here.acceptor.ended(0.01)  # it is not over yet
        here.socket.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(5):
            await here.acceptor.ended(60)


async def test_it_pauses_when_the_system_refuses_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.proxy.client.acceptor._PAUSE", 0.02)

    class Refusing:
        """A listening socket that runs out of descriptors a few times, and is interrupted now and then."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real
            self.faults = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.EINTR, errno.ENOBUFS]

        def _accept(self) -> Any:
            if self.faults:
                raise OSError(self.faults.pop(0), "no more")
            return self.real._accept()  # type: ignore[attr-defined]

        def fileno(self) -> int:
            return self.real.fileno()

        def close(self) -> None:
            self.real.close()

    async with world(started=False) as here:
        here.acceptor._socket = Refusing(here.socket)  # type: ignore[assignment]
        here.acceptor.start()
        with socket.create_connection(here.address):
            await eventually(lambda: len(here.clients.connections.connections) == 1)
        assert here.paused == ["no more"] * 3
        assert here.clients.defects == []


async def test_a_defect_at_one_connection_is_logged_and_ends_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as here:
        real = here.clients.connections.opened

        def opened(connection: Any) -> None:
            if not here.clients.defects:
                here.clients.defects.append("the first")
                raise ZeroDivisionError
            real(connection)

        monkeypatch.setattr(here.clients.connections, "opened", opened)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with socket.create_connection(here.address), socket.create_connection(here.address):
            await eventually(lambda: len(here.clients.connections.connections) == 1)
        assert here.clients.connections.arriving == set()


# The PROXY protocol.

PREAMBLE: Final = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"


@pytest.mark.parametrize("cut", [0, 1, len(PREAMBLE) - 1, len(PREAMBLE)])
async def test_a_trusted_proxy_says_whose_connection_it_brings(cut: int) -> None:
    async with world(introduced=True, trusted_proxies=LOOPBACK) as here:
        with socket.create_connection(here.address) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(PREAMBLE[:cut])
            await asyncio.sleep(0)
            connection.sendall(PREAMBLE[cut:] + GET)
            await eventually(lambda: len(here.clients.handler.requests) == 1)
            assert here.peers == ["192.0.2.7"]


async def test_a_peer_that_is_no_trusted_proxy_is_not_asked() -> None:
    networks = [ipaddress.ip_network("10.0.0.0/8")]
    async with world(introduced=True, trusted_proxies=networks) as here:
        with socket.create_connection(here.address) as connection:
            connection.sendall(GET)
            await eventually(lambda: len(here.clients.handler.requests) == 1)
            assert here.peers == ["127.0.0.1"]


async def test_a_trusted_proxy_that_introduces_nobody_is_cut_and_reported() -> None:
    async with world(introduced=True, trusted_proxies=LOOPBACK) as here:
        with socket.create_connection(here.address) as connection:
            connection.sendall(GET)
            await eventually(lambda: len(here.clients.reports) == 1)
            connection.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
        (report,) = here.clients.reports
        assert (report.reason, report.peer) == (Reason.MALFORMED_REQUEST, "127.0.0.1")
        assert report.fault is not None
        assert report.fault.cause is Cause.NO_PREAMBLE
        assert here.clients.connections.present == 0


async def test_a_trusted_proxy_that_says_nothing_has_its_time() -> None:
    async with world(introduced=True, trusted_proxies=LOOPBACK, handshake=0.05) as here:
        with socket.create_connection(here.address) as silent, socket.create_connection(here.address) as left:
            silent.sendall(PREAMBLE[:5])
            left.close()
            await eventually(lambda: len(here.clients.reports) == 1)
            await eventually(lambda: here.clients.connections.present == 0)
        assert [report.reason for report in here.clients.reports] == [Reason.REQUEST_TIMEOUT]
