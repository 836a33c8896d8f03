"""Connections of TLS, one request each: `full|resumed PORT TOKEN SECONDS THREADS`.

`full`: every handshake is a new one. `resumed`: each thread takes up the session that its last connection left. wrk would do
that by itself, unasked. The heads are those that an ingress sends, new in each request. Answers: requests, seconds, and how
many handshakes were resumed.
"""

import json
import secrets
import socket
import ssl
import sys
import threading
import time

from benchmarks.generators.wire import receive
from benchmarks.machine import Invalid

_PATIENCE = 10.0  # seconds
_HEAD = (
    "GET /orders/{turn} HTTP/1.1\r\nHost: api.example.com\r\nX-Request-ID: {one}\r\nX-Real-IP: 203.0.113.7\r\n"
    "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: api.example.com\r\nX-Forwarded-Proto: https\r\n"
    "User-Agent: python-requests/2.32.5\r\nAccept: application/json\r\nAuthorization: Bearer {token}\r\n"
    "traceparent: 00-{other}-{part}-01\r\nConnection: close\r\n\r\n"
)


def head(turn: int, token: str) -> bytes:
    """That of one request, with ids that no other has."""
    one, other, part = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(8)
    return _HEAD.format(turn=turn, one=one, other=other, part=part, token=token).encode()


class Client:
    """One thread's share."""

    def __init__(self, context: ssl.SSLContext, port: int, token: str, *, resume: bool) -> None:
        self._context, self._port, self._token, self._resume = context, port, token, resume
        self._session: ssl.SSLSession | None = None
        self.requests = self.resumed = 0
        self.fault: Exception | None = None

    def run(self, until: float) -> None:
        """Connect again and again; `fault` has what went wrong."""
        try:
            while time.perf_counter() < until:
                self._visit()
        except (OSError, Invalid) as exc:
            self.fault = exc

    def _visit(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(plain, session=self._session) as sock:
                sock.sendall(head(self.requests, self._token))
                answer = bytearray()
                while receive(sock, answer) != 0:
                    pass
                self.requests += 1
                self.resumed += bool(sock.session_reused)
                if self._resume:
                    self._session = sock.session  # the ticket comes after the handshake: it is there now
                if sock.recv(1):
                    raise Invalid("more comes after an answer")


def _main(kind: str, port: str, token: str, seconds: str, threads: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    clients = [Client(context, int(port), token, resume=kind == "resumed") for _ in range(int(threads))]
    began = time.perf_counter()
    running = [threading.Thread(target=each.run, args=[began + float(seconds)]) for each in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for each in clients:
        if each.fault:
            raise Invalid(str(each.fault)) from each.fault
    found = {"requests": sum(each.requests for each in clients), "resumed": sum(each.resumed for each in clients)}
    print(json.dumps({**found, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
