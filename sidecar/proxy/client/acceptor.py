"""Accepts the connections of a worker.

Why not `loop.create_server`: uvloop's server reports a connection only after its TLS handshake, and does not report a failed
handshake. It accepts all waiting connections at once, so a burst can use up the descriptors before any connection can be
closed. It closes the listening socket permanently when accepting fails.

Rules:
- A connection counts from the moment it is accepted, including its handshake.
- A connection for which there is no room at all is closed at once, so no more descriptors are in use than planned.
- A failure of one connection never stops the acceptor. If descriptors run out anyway, the acceptor pauses and retries:
  connected clients are served, and waiting clients stay in the kernel's queue.
- Accepting ends when the socket's owner shuts the socket down, in this process or another, or when `close` is called. `close`
  first accepts the waiting clients, because the kernel has already told them that they are connected.
- Where the PROXY protocol is enabled, a trusted proxy must first send the address of its client; otherwise the connection is
  cut. A peer that is not a trusted proxy sends no such header: it speaks HTTP or TLS from its first byte.
"""

import _socket
import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.proxy_protocol import InvalidPreamble, Preamble
from sidecar.core.reasons import Reason
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.connections import ClientConnections
from sidecar.proxy.client.sending import address_of

_AT_A_TIME: Final = 64  # accepted connections, before other events get their turn
_PAUSE: Final = 1.0  # seconds before accepting is retried after a failure
_LONGEST_LOOK: Final = 8192  # bytes; more than a PROXY protocol header has
_GOODBYE: Final = 2.0  # seconds to wait for the client's TLS close_notify; a silent client must not keep its place


class _Accepted(socket.socket):
    """A socket whose family and type are plain numbers. `socket.accept` and `connect_accepted_socket` convert them to
    enumerations several times, which takes longer than the system calls."""

    __slots__ = ()

    family = _socket.socket.family  # type: ignore[assignment]  # a number, on purpose
    type = _socket.socket.type  # type: ignore[assignment]  # likewise


class Acceptor:
    """Passes the connections of a listening socket to a `ClientConnections`.

    `tls` and `handshake` (seconds) are used for each new connection and may be replaced at any time. `on_pause` receives the
    system's error text when accepting fails. `introduced`: trusted proxies speak the PROXY protocol.
    """

    def __init__(
        self,
        manager: ClientConnections[Any],
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        handshake: float,
        introduced: bool,
        on_pause: Callable[[str], None],
        log_failure: Callable[[str, Exception], None],
    ) -> None:
        self.tls = tls
        self._manager = manager
        self._loop = manager.loop
        self._socket = sock
        self._family = int(sock.family)
        self.handshake = handshake
        self._introduced = introduced
        self._on_pause = on_pause
        self._log_failure = log_failure
        self._arrivals: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Acceptor {len(self._arrivals)} arriving{' paused' if self._retry else ''}>"

    def start(self) -> None:
        """Start or resume accepting."""
        self._retry = None
        self._loop.add_reader(self._socket, self._ready)

    async def ended(self, within: float) -> None:
        """Wait until the socket's owner has shut it down, for at most `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._over.wait()

    def close(self, *, leave: bool = False) -> None:
        """Stop accepting. Waiting clients are accepted, or with `leave` left to other processes. Accepted connections stay
        open."""
        if self._socket.fileno() < 0:
            return
        while not leave and self._accept():
            pass
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._over.set()

    def _ready(self) -> None:
        for _ in range(_AT_A_TIME):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Accept one connection. Returns whether another may be waiting."""
        try:
            descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001  see `_Accepted`
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            return True  # the client left before it was accepted
        except OSError as exc:
            if exc.errno == errno.EINVAL:  # the socket no longer listens
                self._loop.remove_reader(self._socket)
                self._over.set()
            else:
                self._pause(exc)
            return False
        connection = self._manager.expect(secure=self.tls is not None)
        if connection is None:
            os.close(descriptor)
        else:
            sock = _Accepted(self._family, socket.SOCK_STREAM, 0, descriptor)
            task = self._loop.create_task(self._take(sock, connection))
            self._arrivals.add(task)
            task.add_done_callback(self._arrivals.discard)
        return True

    def _pause(self, exc: OSError) -> None:
        self._loop.remove_reader(self._socket)
        self._retry = self._loop.call_later(_PAUSE, self.start)
        self._on_pause(exc.strerror or str(exc))

    async def _take(self, sock: socket.socket, connection: ClientConnection) -> None:
        tls = self.tls
        try:
            if self._introduced and not await self._introduce(sock, connection):
                sock.close()
                return
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=tls,
                ssl_handshake_timeout=self.handshake if tls else None,
                ssl_shutdown_timeout=_GOODBYE if tls else None,
            )
        except OSError:
            pass  # the handshake failed or the client left: there is no one to answer
        except Exception as exc:  # noqa: BLE001  a defect of the sidecar
            self._log_failure("acceptor", exc)
        finally:
            self._manager.arrived(connection)

    async def _introduce(self, sock: socket.socket, connection: ClientConnection) -> bool:
        """Read the address of the client behind a trusted proxy. Returns whether the connection may proceed."""
        preamble = Preamble()
        sock.setblocking(False)  # noqa: FBT003  the signature of the standard library
        try:
            connection.peer = address_of(sock.getpeername())
            if not self._manager.trusts(connection.peer):
                return True
            async with asyncio.timeout(self.handshake):
                while not preamble.done:
                    await self._readable(sock)
                    waiting = sock.recv(_LONGEST_LOOK, socket.MSG_PEEK)
                    if not waiting:
                        return False
                    preamble.feed(sock.recv(preamble.wanted(waiting)))
        except TimeoutError:
            self._manager.report_unparsed(connection, Reason.REQUEST_TIMEOUT)
            return False
        except InvalidPreamble:
            self._manager.report_unparsed(connection, Reason.MALFORMED_REQUEST, Fault(Cause.NO_PREAMBLE))
            return False
        except OSError:
            return False
        connection.introduced = preamble.address or ""
        return True

    async def _readable(self, sock: socket.socket) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(sock)
