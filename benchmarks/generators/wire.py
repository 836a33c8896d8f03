"""As much HTTP as the generators need: a request's head, and whether an answer is whole."""

import re
import socket
import urllib.parse
from collections.abc import Mapping

from benchmarks.machine import Invalid

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


def request(method: str, path: str, bearer: str, length: int | None = None) -> bytes:
    """The head of a request with a token; `length` is that of its body."""
    framing = "" if length is None else f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {bearer}\r\n{framing}\r\n".encode()


def form(path: str, fields: Mapping[str, str]) -> bytes:
    """A whole POST of a form."""
    body = urllib.parse.urlencode(fields)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def missing(answer: bytes | bytearray, status: bytes = b"200") -> int | None:
    """How many bytes are still to come; `None` while the head is not whole. Raises `Invalid` for another status."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(answer, 0, end + 2)
    if not answer.startswith(b"HTTP/1.1 %b " % status) or length is None:
        raise Invalid(f"an answer begins {bytes(answer[:80])!r}")
    return int(length[1]) - (len(answer) - end - 4)


def receive(sock: socket.socket, answer: bytearray, status: bytes = b"200") -> int | None:
    """Take what has come. Raises `Invalid` when the connection has ended; gives what is `missing`."""
    data = sock.recv(65536)
    if not data:
        raise Invalid("a connection was closed")
    answer += data
    return missing(answer, status)


def exchange(sock: socket.socket, message: bytes, status: bytes = b"200") -> bytes:
    """One request, sent whole, and its whole answer."""
    sock.sendall(message)
    answer = bytearray()
    while receive(sock, answer, status) != 0:
        pass
    return bytes(answer)
