"""How soon a revocation is known elsewhere: `REVOKING_PORT WATCHING_PORT PATH COUNT CLIENT SECRET`.

For each of so many tokens: the process at the second port admits it; the one at the first revokes it; from the whole 200 of
that on, the other is asked again and again, as fast as it answers, until it refuses. Answers: the ms until that refusal had
come, in ascending order, and the ms of one question to the other, which is the least that can be seen.
"""

import json
import re
import socket
import statistics
import sys
import time

from benchmarks.generators.wire import exchange, form, missing, receive, request
from benchmarks.machine import Invalid

_GIVEN = re.compile(rb'"access_token": "([\w.-]+)"')
_PATIENCE = 10.0  # seconds


def connect(port: int) -> socket.socket:
    """A connection that is kept."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def issued(sock: socket.socket, credentials: dict[str, str]) -> str:
    """A new token."""
    found = _GIVEN.search(exchange(sock, form("/oauth/token", {"grant_type": "client_credentials", **credentials})))
    if found is None:
        raise Invalid("an answer gives no access token")
    return found[1].decode()


def admitted(sock: socket.socket, head: bytes) -> bool:
    """Ask once. Raises `Invalid` for any answer but 200, and 401 because of a revocation."""
    sock.sendall(head)
    answer = bytearray(sock.recv(65536))
    good = answer.startswith(b"HTTP/1.1 200 ")
    status = b"200" if good else b"401"
    left = missing(answer, status)
    while left != 0:
        left = receive(sock, answer, status)
    if not good and b'"reason": "revoked"' not in answer:
        raise Invalid("the token was refused for another reason")
    return good


def latency(revoking: socket.socket, watching: socket.socket, path: str, credentials: dict[str, str]) -> float:
    """The ms of one revocation."""
    token = issued(revoking, credentials)
    head = request("GET", path, token)
    if not admitted(watching, head):
        raise Invalid("a token is refused before it is revoked")
    exchange(revoking, form("/oauth/revoke", {"token": token, **credentials}))
    began = time.perf_counter()
    while admitted(watching, head):
        if time.perf_counter() - began > _PATIENCE:
            raise Invalid("a revoked token is still admitted")
    return (time.perf_counter() - began) * 1000


def question(watching: socket.socket, head: bytes) -> float:
    """The ms of one question."""
    began = time.perf_counter()
    admitted(watching, head)
    return (time.perf_counter() - began) * 1000


def _main(revoking_port: str, watching_port: str, path: str, count: str, client: str, secret: str) -> None:
    credentials = {"client_id": client, "client_secret": secret}
    with connect(int(revoking_port)) as revoking, connect(int(watching_port)) as watching:
        head = request("GET", path, issued(revoking, credentials))
        questions = [question(watching, head) for _ in range(int(count))]
        latencies = [latency(revoking, watching, path, credentials) for _ in range(int(count))]
    print(json.dumps({"latencies": sorted(latencies), "question": statistics.median(questions)}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
