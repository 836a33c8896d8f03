"""A relay to a server that does to connections what firewalls and balancers do to those that were idle for long."""

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Relay:
    """Listens on `port` of loopback and passes bytes on to `target`, both ways, in one thread."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._other: dict[socket.socket, socket.socket] = {}  # both ways
        self._clients: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        self._orders: list[tuple[Callable[[], None], threading.Event]] = []
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ended = False
        self.passed = 0
        """How many pieces of what clients sent were passed on."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._clients)

    def reset(self) -> None:
        """Reset every connection."""
        self._order(lambda: [self._end(client, reset=True) for client in [*self._clients]])

    def finish(self) -> None:
        """Close every connection in the orderly way."""
        self._order(lambda: [self._end(client, reset=False) for client in [*self._clients]])

    def forget(self) -> None:
        """Lose the state of every connection: what is sent on it from now on is answered by a reset, and goes nowhere."""
        self._order(lambda: self._forgotten.update(self._clients))

    def _order(self, order: Callable[[], object]) -> None:
        done = threading.Event()
        self._orders.append((lambda: order() and None, done))
        self._wake.send(b"x")
        assert done.wait(10)

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._accept()
                elif sock is self._woken:
                    self._obey()
                elif sock in self._other:  # it may have been closed since
                    self._pass_on(sock)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        self._clients.append(client)
        for sock, other in ((client, server), (server, client)):
            self._other[sock] = other
            self._selector.register(sock, selectors.EVENT_READ)

    def _obey(self) -> None:
        self._woken.recv(1)
        order, done = self._orders.pop(0)
        order()
        done.set()

    def _pass_on(self, sock: socket.socket) -> None:
        client = sock if sock in self._clients else self._other[sock]
        try:
            data = sock.recv(65536)
            if sock in self._forgotten:
                self._end(client, reset=bool(data))
            elif data:
                self._other[sock].sendall(data)
                self.passed += sock is client
            else:
                self._end(client, reset=False)
        except OSError:
            self._end(client, reset=True)

    def _end(self, client: socket.socket, *, reset: bool) -> None:
        if reset:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        server = self._other[client]
        for sock in (client, server):
            self._selector.unregister(sock)
            del self._other[sock]
            sock.close()
        self._clients.remove(client)
        self._forgotten.discard(client)

    def _stop(self) -> None:
        self._ended = True
        for client in [*self._clients]:
            self._end(client, reset=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._order(self._stop)
        self._thread.join(10)
        for sock in (self._listener, self._wake, self._woken):
            sock.close()
        self._selector.close()
