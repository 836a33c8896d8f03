"""Clients that read slowly, beside clients that do not: whoever asks while another one is slow is answered."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import Response, read_response
from tests.support.upstream import Received, Upstream, reply

SIZES: Final = {"/small": 100, "/public/large": 150_000, "/large": 150_000, "/huge": 600_000}
ROUNDS: Final = 12


def answer(received: Received, connection: socket.socket) -> bool:
    """A body of the size that the target stands for, in one write; the last segment of a path makes no difference."""
    path = received.target.partition("?")[0]
    connection.sendall(reply(200, b"a" * SIZES[path], "X-Target: " + received.target))
    return True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, Upstream]]:
    folder: Path = tmp_path_factory.mktemp("slow")
    routes = [{"path": "/public/**", "access": "public"}]
    with Upstream(answer) as upstream, running(folder, upstream.url, routes=routes) as sidecar:
        yield sidecar, upstream


def get(token: str, target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


@contextlib.contextmanager
def slow_client(sidecar: Sidecar) -> Iterator[socket.socket]:
    """A client whose system takes no more than a few kilobytes as long as it does not read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
        connection.settimeout(30)
        connection.connect(sidecar.address)
        yield connection


def ask(sidecar: Sidecar, request: bytes, seconds: float = 10) -> Response:
    with socket.create_connection(sidecar.address, timeout=seconds) as connection:
        connection.sendall(request)
        return read_response(connection)


@pytest.mark.parametrize("target", ["/large", "/public/large", "/huge"])
def test_a_client_that_does_not_read_makes_nobody_else_wait(place: tuple[Sidecar, Upstream], target: str) -> None:
    """The slow client's answer came in one piece, so that the connection it came on serves the next request."""
    sidecar, upstream = place
    token = sidecar.token()
    for _ in range(2):
        assert ask(sidecar, get(token, target)).status == 200  # the shape of these answers is known from here on
    for number in range(ROUNDS):
        with slow_client(sidecar) as slow:
            upstream.take()
            slow.sendall(get(token, f"{target}?slow{number}"))
            deadline = time.monotonic() + 10
            while not upstream.received:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            response = ask(sidecar, get(token, f"/small?{number}"))
            assert (response.status, response.values("x-target")) == (200, [f"/small?{number}"])
            response = read_response(slow)
            assert (response.status, response.values("x-target")) == (200, [f"{target}?slow{number}"])
            assert response.complete
            assert len(response.body) == SIZES[target]


def read_slowly(connection: socket.socket, rng: random.Random) -> bytes:
    """As much as there is of one answer, now and then."""
    data, wanted = b"", -1
    while wanted < 0 or len(data) < wanted:
        part = connection.recv(rng.choice([1000, 20_000, 200_000]))
        if not part:
            break
        data += part
        if wanted < 0 and b"\r\n\r\n" in data:
            head, _, _ = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            wanted = len(head) + 4 + length
        time.sleep(rng.choice([0, 0.001, 0.005]))
    return data


def test_slow_and_fast_clients_together_all_get_their_own_answers(place: tuple[Sidecar, Upstream]) -> None:
    """Seeded: each client asks for what only it asks for, and reads as fast or as slowly as it likes."""
    sidecar, _ = place
    token = sidecar.token()
    faults: list[str] = []

    def run(number: int) -> None:
        rng = random.Random(number)  # noqa: S311  it has to come again
        try:
            with slow_client(sidecar) if number % 2 else socket.create_connection(sidecar.address, 30) as connection:
                for turn in range(40):
                    target = f"{rng.choice(list(SIZES))}?{number}.{turn}"
                    connection.sendall(get(token, target))
                    data = read_slowly(connection, rng)
                    if not data.startswith(b"HTTP/1.1 200 ") or b"X-Target: %b\r\n" % target.encode() not in data:
                        faults.append(f"{target}: {data[:200]!r}")
        except OSError as exc:
            faults.append(f"{number}: {exc!r}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert not sidecar.records("internal_error")
