"""One long body over one connection: `down|up PORT PATH BYTES TOKEN`; answers the seconds from request to last byte."""

import json
import socket
import sys
import time

from benchmarks.generators.wire import receive, request
from benchmarks.machine import Invalid

_CHUNK = 256 * 1024


def down(sock: socket.socket, path: str, size: int, token: str) -> None:
    """Raises `Invalid` unless as many bytes come."""
    sock.sendall(request("GET", path, token))
    answer = bytearray()
    while (left := receive(sock, answer)) is None:
        pass
    received = len(answer) - answer.index(b"\r\n\r\n") - 4
    if received + left != size:
        raise Invalid(f"{received + left} bytes are announced, not {size}")
    buffer = bytearray(_CHUNK)
    while left > 0:
        count = sock.recv_into(buffer, min(left, _CHUNK))
        if not count:
            raise Invalid(f"cut with {left} bytes left")
        left -= count


def up(sock: socket.socket, path: str, size: int, token: str) -> None:
    """Ends with the answer, which comes when all has arrived."""
    sock.sendall(request("POST", path, token, size))
    chunk = memoryview(bytes(_CHUNK))
    for sent in range(0, size, _CHUNK):
        sock.sendall(chunk[: min(_CHUNK, size - sent)])
    answer = bytearray()
    while receive(sock, answer) != 0:
        pass


def _main(direction: str, port: str, path: str, size: str, token: str) -> None:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as sock:
        began = time.perf_counter()
        {"down": down, "up": up}[direction](sock, path, int(size), token)
        print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
