"""Watches a sidecar that loads its revocations: `ADMIN_PORT`.

From the moment when it listens until it is ready, it is asked for `/healthz` every millisecond, and for `/readyz` now and then.
Answers: the seconds between the two moments, and the longest of the answers in ms: so long its event loop served nobody.
"""

import json
import socket
import sys
import time

from benchmarks.machine import Invalid

_PATIENCE = 60.0  # seconds
_READY_EVERY = 0.02  # seconds
_PAUSE = 0.001  # seconds


def connect(port: int) -> socket.socket:
    """As soon as somebody listens there."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        except OSError:
            if time.monotonic() > deadline:
                raise Invalid("ours does not listen") from None
            time.sleep(_PAUSE)


def asked(sock: socket.socket, path: str) -> bytes:
    """The status, from an answer that comes in one piece."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    answer = sock.recv(65536)
    if not answer:
        raise Invalid("a connection was closed")
    return answer.split(b" ", 2)[1]


def watch(port: int) -> dict[str, float]:
    """Raises `Invalid` when it does not become ready."""
    with connect(port) as sock:
        asked(sock, "/healthz")
        begun = looked = time.perf_counter()
        longest = 0.0
        while True:
            now = time.perf_counter()
            if now - begun > _PATIENCE:
                raise Invalid("ours does not become ready")
            if now - looked > _READY_EVERY:
                looked = now
                if asked(sock, "/readyz") == b"200":
                    return {"seconds": time.perf_counter() - begun, "stall": longest * 1000}
                continue
            asked(sock, "/healthz")
            longest = max(longest, time.perf_counter() - now)
            time.sleep(_PAUSE)


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]))))
