"""A client that sends exactly the bytes it is given."""

import contextlib
import socket
import ssl
import time
from typing import NamedTuple

import h11


class Response(NamedTuple):
    """A response as it stood on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    informational: list[int]
    complete: bool

    def values(self, name: str) -> list[str]:
        """All values of a header, its name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


def connect(
    address: tuple[str, int], *, buffer: int = 0, context: ssl.SSLContext | None = None, timeout: float = 20
) -> socket.socket:
    """A connection, over TLS with a `context`; `buffer`: the system takes no more than about so many bytes that are not read."""
    plain = socket.socket()
    if buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    plain.settimeout(timeout)
    plain.connect(address)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def read_response(connection: socket.socket, method: str = "GET") -> Response:
    """Read one response. `complete` is false when the connection ended before its framing said so."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Connection", "keep-alive")]))
    parser.send(h11.EndOfMessage())
    status, headers, body, informational = 0, [], b"", []
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return Response(status, headers, body, informational, complete=False)
        if event is h11.NEED_DATA:
            try:
                data = connection.recv(65536)
            except ConnectionError:
                return Response(status, headers, body, informational, complete=False)
            parser.receive_data(data)
        elif isinstance(event, h11.InformationalResponse):
            informational.append(event.status_code)
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers.raw_items()]
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            return Response(status, headers, body, informational, complete=isinstance(event, h11.EndOfMessage))


def exchange(address: tuple[str, int], data: bytes, method: str = "GET") -> Response:
    """Connect, send, read one response."""
    with socket.create_connection(address, timeout=15) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return read_response(connection, method)


def read_all(connection: socket.socket, seconds: float = 15) -> bytes:
    """Everything until the other side closes; a reset counts as the end."""
    deadline = time.monotonic() + seconds
    data = b""
    while time.monotonic() < deadline:
        try:
            part = connection.recv(65536)
        except ConnectionError:
            return data
        if not part:
            return data
        data += part
    raise AssertionError(f"still open after {seconds} s: {data[:200]!r}")
