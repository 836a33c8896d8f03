"""Requests that are being answered for as long as a test wants."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.process import Sidecar
from tests.support.upstream import Received, reply


class Holding:
    """An answer that waits until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        self.begun.release()
        self.release.wait(20)
        with contextlib.suppress(OSError):
            connection.sendall(reply(200, received.target.encode()))
        return True


@contextlib.contextmanager
def held(sidecar: Sidecar, holding: Holding, count: int, request: bytes) -> Iterator[list[socket.socket]]:
    """So many requests that are being answered."""
    with contextlib.ExitStack() as stack:
        stack.callback(holding.release.set)
        connections = [stack.enter_context(socket.create_connection(sidecar.address, timeout=20)) for _ in range(count)]
        for connection in connections:
            connection.sendall(request)
        for _ in range(count):
            assert holding.begun.acquire(timeout=20)
        yield connections
