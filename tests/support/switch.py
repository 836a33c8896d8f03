"""A switch in front of a server, with the faults of a network: it delays, splits, holds back or swallows bytes, cuts connections,
and leads to another server from then on."""

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Final, Self

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Switch:
    """Listens on a free port of loopback and passes bytes on to the port `target`, which may be changed for later
    connections. `delay` is in seconds, each way; with `split`, each byte is sent by itself. Both may be changed at any time."""

    def __init__(self, target: int, *, delay: float = 0.0) -> None:
        self.target = target
        self.delay = delay
        self.split = False
        self._swallowing = False
        self._stranded: set[tuple[socket.socket, socket.socket]] = set()
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """For Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    def hold(self) -> None:
        """Pass nothing on from the server, until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Pass on what was held, and what comes."""
        self._open.set()

    def cut(self) -> None:
        """End every connection with a reset, on both sides."""
        for pair in list(self._pairs):
            for each in pair:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    each.shutdown(socket.SHUT_RD)
                each.close()

    def strand(self) -> None:
        """Swallow whatever is sent on the connections that there are: neither side hears that the other is gone."""
        self._stranded.update(self._pairs)

    def swallow(self) -> None:
        """A black hole: accept connections and take bytes, and answer nothing, until `heal`."""
        self._swallowing = True
        self.strand()

    def heal(self) -> None:
        """Pass on everything at once from now on. Connections whose bytes were swallowed stay dead."""
        self.delay, self.split, self._swallowing = 0.0, False, False
        self.release()

    def lead_to(self, target: int) -> None:
        """From now on to another server; what is held is lost."""
        self.target = target
        self.cut()
        self.release()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                pair = (client, server)
                self._pairs.add(pair)
                if self._swallowing:
                    self._stranded.add(pair)
                for each in pair:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink, held in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(pair, source, sink, held), daemon=True).start()

    def _pass_on(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket, held: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if held:
                    self._open.wait()
                time.sleep(self.delay)
                size = 1 if self.split else len(data)
                for start in range(0, 0 if pair in self._stranded else len(data), size):
                    sink.sendall(data[start : start + size])
        for each in pair:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._pairs.discard(pair)
        self._stranded.discard(pair)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.release()
        self.cut()
