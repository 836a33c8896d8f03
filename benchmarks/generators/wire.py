"""As much HTTP as the generators need: a request's head, and whether an answer is whole."""

import re
import socket

from benchmarks.machine import Invalid

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


def request(method: str, path: str, bearer: str, length: int | None = None) -> bytes:
    """The head of a request with a token; `length` is that of its body."""
    framing = "" if length is None else f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {bearer}\r\n{framing}\r\n".encode()


def missing(answer: bytes | bytearray) -> int | None:
    """How many bytes are still to come; `None` while the head is not whole. Raises `Invalid` unless it is 200."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(answer, 0, end + 2)
    if not answer.startswith(b"HTTP/1.1 200 ") or length is None:
        raise Invalid(f"an answer begins {bytes(answer[:80])!r}")
    return int(length[1]) - (len(answer) - end - 4)


def receive(sock: socket.socket, answer: bytearray) -> int | None:
    """Take what has come. Raises `Invalid` when the connection has ended; gives what is `missing`."""
    data = sock.recv(65536)
    if not data:
        raise Invalid("a connection was closed")
    answer += data
    return missing(answer)


def exchange(sock: socket.socket, head: bytes) -> None:
    """One request without a body, and its whole answer."""
    sock.sendall(head)
    answer = bytearray()
    while receive(sock, answer) != 0:
        pass
