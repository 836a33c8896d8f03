"""An upstream that records what it was sent, byte for byte, and answers as a test says."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import h11


class Received(NamedTuple):
    """A request as the upstream saw it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes
    connection: int

    def values(self, name: str) -> list[str]:
        """All values of a header, its name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


Answer = Callable[[Received, socket.socket], bool]
"""Writes a response; returns whether the connection stays open."""


def reply(status: int = 200, body: bytes = b"ok", *headers: str) -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def echo(received: Received, connection: socket.socket) -> bool:
    """Answer 200 with what was received, as JSON."""
    text = json.dumps({"method": received.method, "target": received.target, "headers": received.headers})
    connection.sendall(reply(200, text.encode(), "Content-Type: application/json"))
    return True


def saying(data: bytes, *, keep: bool = True) -> Answer:
    """Answer with these bytes."""

    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return answer


class Unanswering:
    """Never answers, and reads until the other side has closed: `gone` is set then."""

    def __init__(self) -> None:
        self.gone = threading.Event()

    def __call__(self, _: Received, connection: socket.socket) -> bool:
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass
        self.gone.set()
        return False


class Endless:
    """An answer of `first`, and `more` again and again, up to `most` bytes. `ended` is set when nobody takes them any more;
    `sent` counts them."""

    def __init__(self, first: bytes, more: bytes, most: int) -> None:
        self._first, self._more, self._most = first, more, most
        self.sent = 0
        self.ended = threading.Event()

    def __call__(self, _: Received, connection: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            connection.sendall(self._first)
            while self.sent < self._most:
                self.sent += connection.send(self._more)
        self.ended.set()
        return False


class Upstream:
    """Listens on a free port of loopback, a thread per connection."""

    def __init__(self, answer: Answer = echo, *, port: int = 0, listener: socket.socket | None = None) -> None:
        self.answer = answer
        self.early = False  # answer at the head, without waiting for the body
        self.received: list[Received] = []
        self.connections = 0
        self.closed = 0
        self._sockets: set[socket.socket] = set()
        self._listener = listener or socket.create_server(("127.0.0.1", port))
        self.url = "" if listener else f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.add(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with connection, contextlib.suppress(OSError, h11.RemoteProtocolError):
                while self._one(connection, number):
                    pass
        finally:
            self._sockets.discard(connection)
            self.closed += 1

    def _one(self, connection: socket.socket, number: int) -> bool:
        parser = h11.Connection(h11.SERVER)
        raw, head, body = b"", None, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if parser.they_are_waiting_for_100_continue:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    parser.send(h11.InformationalResponse(status_code=100, headers=[]))
                data = connection.recv(65536)
                raw += data
                parser.receive_data(data)
            elif isinstance(event, h11.Request) and not self.early:
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.Request):
                head = head or event
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers.raw_items()]
                received = Received(head.method.decode(), head.target.decode("latin-1"), headers, body, raw, number)
                self.received.append(received)
                return self.answer(received, connection)
            else:
                return False

    def take(self) -> list[Received]:
        """What came since the last call."""
        received, self.received = self.received, []
        return received

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._listener.close()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
