"""A link to a server that can lose an answer: bytes go both ways, until a request holds a word that was named."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Link:
    """Listens on `port` of loopback and passes bytes on to `target`. After `lose(word)`, the connection whose request holds
    the word passes it on, and never the answer; `lost` is set when the server has given it."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._word: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, word: bytes) -> None:
        """Lose the answer to the next request that holds this."""
        self._word = word

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                losing = threading.Event()
                threading.Thread(target=self._requests, args=(client, server, losing), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client, losing), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with contextlib.suppress(OSError), client, server:
            while data := client.recv(65536):
                if self._word is not None and self._word in data:
                    self._word = None
                    losing.set()
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket, losing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    self.lost.set()
                else:
                    client.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
