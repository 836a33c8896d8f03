"""An upstream that breaks a rule of HTTP, or merely takes a liberty: it costs its own exchange, never another one."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.holding import Holding, held
from tests.support.process import Sidecar, configuration, running
from tests.support.raw import Response, exchange, read_all, read_response
from tests.support.tcp import wait_until_read
from tests.support.upstream import Answer, Endless, Received, Unanswering, Upstream, reply, saying
from tests.support.waiting import wait_until

NO_LINGER = struct.pack("ii", 1, 0)  # closing resets the connection


def head(token: str, target: str = "/x", method: str = "GET", extra: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{extra}\r\n".encode()


# How many connections there may be.


class Closing(Holding):
    """It closes every connection after its answer."""

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        super().__call__(received, connection)
        return False


def test_a_connection_counts_once_while_it_is_opened(tmp_path: Path) -> None:
    """As many requests as may have a connection arrive at the same moment, again and again."""
    holding = Closing()
    with Upstream(holding) as upstream, running(tmp_path, {"url": upstream.url, "max_connections": 3}) as sidecar:
        request = head(sidecar.token())
        for _ in range(20):
            holding.release.clear()
            with held(sidecar, holding, 3, request) as connections:
                holding.release.set()
                assert [read_response(connection).status for connection in connections] == [200] * 3
            closed = upstream.connections
            wait_until(lambda closed=closed: upstream.closed == closed)


# Bytes that come too late.

PLAIN = "HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nevil"
BODYLESS = {  # the method, the head of the answer, whether the connection may be used again
    "HEAD with a length": ("HEAD", "200 X\r\nContent-Length: 41\r\n", False),
    "HEAD with chunks": ("HEAD", "200 X\r\nTransfer-Encoding: chunked\r\n", False),
    "HEAD with nothing to come": ("HEAD", "200 X\r\nContent-Length: 0\r\n", True),
    "HEAD of what did not change": ("HEAD", "304 X\r\n", True),
    "304 with a length": ("GET", "304 X\r\nContent-Length: 41\r\n", False),
    "304 with chunks": ("GET", "304 X\r\nTransfer-Encoding: chunked\r\n", False),
    "304": ("GET", "304 X\r\n", True),
    "204": ("GET", "204 X\r\n", True),
}


@pytest.mark.parametrize("case", BODYLESS)
def test_a_body_that_must_not_come_answers_nobody_else(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str
) -> None:
    """The upstream sends the body that it announced, late: when the next request is there."""
    method, answer, kept = BODYLESS[case]

    def careless(received: Received, connection: socket.socket) -> bool:
        if received.target == "/first":
            connection.sendall(f"HTTP/1.1 {answer}\r\n".encode())
        elif received.connection == upstream.received[0].connection and not kept:
            connection.sendall(PLAIN.encode())
        else:
            connection.sendall(reply(200, b"good"))
        return True

    upstream.answer = careless
    assert exchange(sidecar.address, head(token, "/first", method), method).complete
    assert exchange(sidecar.address, head(token, "/second")).body == b"good"
    first, second = upstream.take()
    assert (first.connection == second.connection) == kept


# Framing where it must not be.

OK = "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok"
MISFRAMED = {
    "1xx with chunks": "HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n" + OK,
    "1xx with a length": "HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n" + OK,
    "100 with a length": "HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\n" + OK,
    "another 1xx with a length": "HTTP/1.1 155 X\r\nContent-Length: 5\r\n\r\n" + OK,
    "204 with chunks": "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with a length": "HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nok",
    "chunks over HTTP/1.0": "HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks over HTTP/1.0, kept": (
        "HTTP/1.0 200 X\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("case", MISFRAMED)
def test_an_answer_framed_where_none_may_be_is_502(sidecar: Sidecar, upstream: Upstream, token: str, case: str) -> None:
    upstream.answer = saying(MISFRAMED[case].encode())
    response = exchange(sidecar.address, head(token))
    assert (response.status, response.informational) == (502, [])
    upstream.answer = saying(reply(200, b"next"))
    assert exchange(sidecar.address, head(token)).body == b"next"


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("status", [102, 103, 104, 199])
def test_an_informational_answer_passes_without_a_length(
    sidecar: Sidecar, upstream: Upstream, token: str, status: int, apart: bool
) -> None:
    """Those that nobody has heard of too, whether the rest comes in the same read or in one of its own."""

    def answer(_: Received, connection: socket.socket) -> bool:
        for extra in ("", "content-length: 0\r\n"):
            connection.sendall(f"HTTP/1.1 {status} Early\r\nX-A: b\r\n{extra}\r\n".encode())
            if apart:
                wait_until_read(connection)
        connection.sendall(reply(200, b"final"))
        return True

    upstream.answer = answer
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(token, extra="Connection: close\r\n"))
        raw = read_all(connection)
    early = b"HTTP/1.1 %d Early\r\nX-A: b\r\n\r\n" % status
    assert raw.startswith(2 * early + b"HTTP/1.1 200 X\r\n")
    assert raw.endswith(b"\r\n\r\nfinal")


# More of something than any server sends.

ENDLESS = {
    "heads": (b"HTTP/1.1 200 X\r\n", b"X-A: b\r\n"),
    "informational answers": (b"", b"HTTP/1.1 103 X\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", b"X-A: b\r\n"),
    "one trailer": (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: ", b"bbbbbbbb"),
    "an extension": (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2;a=", b"bbbbbbbb"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_frames_a_body_has_a_limit(sidecar: Sidecar, upstream: Upstream, token: str, case: str) -> None:
    """It ends the answer long before it fills our memory."""
    first, more = ENDLESS[case]
    endless = upstream.answer = Endless(first, more * 8192, 64 * 1024 * 1024)
    response = exchange(sidecar.address, head(token))
    assert response.status in (200, 502)
    assert not (response.status == 200 and response.complete)
    assert endless.ended.wait(10)
    assert 0 < endless.sent < 32 * 1024 * 1024
    upstream.answer = saying(reply(200, b"next"))
    assert exchange(sidecar.address, head(token)).body == b"next"


# Who is to blame.

NEVER_KEPT = {
    "Connection: close": reply(200, b"ok", "Connection: close"),
    "HTTP/1.0": b"HTTP/1.0 200 X\r\nContent-Length: 2\r\n\r\nok",
    "no length": b"HTTP/1.1 200 X\r\n\r\nok",
}


@pytest.mark.parametrize("case", NEVER_KEPT)
def test_failures_with_proper_answers_between_them_are_not_in_a_row(tmp_path: Path, case: str) -> None:
    """Also when the upstream never keeps a connection: it stays the first choice."""
    with (
        Upstream(saying(NEVER_KEPT[case], keep=False)) as first,
        Upstream() as second,
        running(tmp_path, {"url": [first.url, second.url]}) as sidecar,
    ):
        token = sidecar.token()
        for _ in range(4):
            first.answer = saying(b"nonsense\r\n\r\n", keep=False)
            assert exchange(sidecar.address, head(token)).status == 502
            first.answer = saying(NEVER_KEPT[case], keep=False)
            assert exchange(sidecar.address, head(token)).body == b"ok"
        assert second.take() == []


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Sidecar, Upstream]]:
    """A sidecar that waits for the upstream only shortly, and longer for clients."""
    timeouts = {"response": "400ms", "idle": "2s"}
    with Upstream() as upstream, running(tmp_path, upstream.url, timeouts=timeouts) as process:
        yield process, upstream


def test_a_client_that_pauses_its_upload_is_waited_for(slow: tuple[Sidecar, Upstream]) -> None:
    sidecar, upstream = slow
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(sidecar.token(), method="PUT", extra="Content-Length: 8\r\n") + b"abcd")
        time.sleep(1.2)  # three times as long as the upstream may be silent
        connection.sendall(b"efgh")
        assert read_response(connection).status == 200
    assert upstream.take()[0].body == b"abcdefgh"


def test_a_client_that_stops_its_upload_is_408_and_no_fault_of_the_upstream(slow: tuple[Sidecar, Upstream]) -> None:
    """Its half of a request is cut at once, so that no late answer follows the 408."""
    sidecar, upstream = slow
    upload = upstream.answer = Unanswering()
    upstream.early = True
    data = head(sidecar.token(), method="PUT", extra="Content-Length: 8\r\n") + b"abcd"
    assert exchange(sidecar.address, data, "PUT").status == 408
    assert upload.gone.wait(0.3)
    assert sidecar.metric("sidecar_upstream_failures_total", reason="upstream_timeout") == 0


def test_the_answer_is_due_from_the_end_of_the_request(slow: tuple[Sidecar, Upstream]) -> None:
    sidecar, upstream = slow
    upstream.answer = Holding()
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(sidecar.token(), method="PUT", extra="Content-Length: 8\r\n") + b"abcd")
        time.sleep(0.8)  # twice as long as the upstream may be silent
        connection.sendall(b"efgh")
        begun = time.monotonic()
        assert read_response(connection).status == 504
        assert 0.3 < time.monotonic() - begun < 1.5
    upstream.answer.release.set()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar whose upstream accepts connections and does nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Sidecar(tmp_path, configuration(url, timeouts={"response": "400ms"})) as process:
            yield process


def test_an_upstream_that_takes_no_more_of_an_upload_is_504(deaf: Sidecar) -> None:
    with socket.create_connection(deaf.address, timeout=10) as connection:
        connection.sendall(head(deaf.token(), method="PUT", extra="Content-Length: 100000000\r\n"))
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(bytes(65536))
        connection.settimeout(10)
        assert read_response(connection).status == 504
        assert deaf.metric("sidecar_upstream_failures_total", reason="upstream_timeout") == 1


def test_an_upstream_that_lets_a_client_wait_for_100_is_504(deaf: Sidecar) -> None:
    extra = "Content-Length: 8\r\nExpect: 100-continue\r\n"
    assert exchange(deaf.address, head(deaf.token(), method="PUT", extra=extra), "PUT").status == 504


# The end of the stream.


@pytest.mark.parametrize("reset", [False, True])
def test_a_body_without_a_length_ends_with_the_stream_and_not_with_a_reset(
    sidecar: Sidecar, upstream: Upstream, token: str, reset: bool
) -> None:
    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 X\r\n\r\nok")
        wait_until_read(connection)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        return False

    upstream.answer = answer
    response = exchange(sidecar.address, head(token))
    assert (response.status, response.body, response.complete) == (200, b"ok", not reset)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nok"])
def test_an_upstream_that_ends_its_side_early_is_not_waited_for(tmp_path: Path, answer: bytes) -> None:
    """Also when it takes no more of the request: what waits to be sent keeps nothing open."""
    hold = threading.Event()

    def half_closing(_: Received, connection: socket.socket) -> bool:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        return not hold.wait(20)

    with Upstream(half_closing) as upstream, running(tmp_path, upstream.url) as sidecar:
        upstream.early = True
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(head(sidecar.token(), method="PUT", extra="Content-Length: 100000000\r\n"))
            connection.settimeout(0.3)
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(bytes(65536))
            connection.settimeout(10)
            response = read_response(connection)
        hold.set()
        assert response.status == (200 if answer else 502)
        assert response.complete == (not answer)


# An answer before the end of the request.

REFUSED = "HTTP/1.1 413 X\r\n"
EARLY = {
    "with a length": f"{REFUSED}Content-Length: 3\r\nConnection: close\r\n\r\nbig",
    "with chunks": f"{REFUSED}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nbig\r\n0\r\n\r\n",
    "with a length and unannounced": f"{REFUSED}Content-Length: 3\r\n\r\nbig",
    "to the end of the stream": f"{REFUSED}\r\nbig",
}


def upload(sidecar: Sidecar, token: str, size: int = 100_000_000, *, chunked: bool = False) -> Response:
    """Send until the answer is there."""
    framing = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {size}\r\n"
    part = b"10000\r\n" + bytes(65536) + b"\r\n" if chunked else bytes(65536)
    with socket.create_connection(sidecar.address, timeout=20) as connection:
        connection.sendall(head(token, method="PUT", extra=framing))

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(size // 65536):
                    connection.sendall(part)

        sender = threading.Thread(target=send)
        sender.start()
        response = read_response(connection, "PUT")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    return response


def refusing(answer: str, *, taken: int, pause: float, linger: bool) -> Answer:
    """Take some of the body, answer, and close: either at once, which resets the connection, or in order."""

    def refuse(_: Received, connection: socket.socket) -> bool:
        connection.recv(taken + 1)
        connection.sendall(answer.encode())
        time.sleep(pause)
        if linger:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        return False

    return refuse


@pytest.fixture
def early(upstream: Upstream) -> Iterator[Upstream]:
    """An upstream that does not wait for the body."""
    upstream.early = True
    yield upstream
    upstream.early = False


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("case", EARLY)
def test_an_upload_that_is_refused_in_order_is_always_told_so(
    sidecar: Sidecar, early: Upstream, token: str, case: str, chunked: bool
) -> None:
    rng = random.Random(7)  # noqa: S311  the same moments in every run
    for _ in range(6):
        pause = rng.choice([0, 0.01, 0.1])
        early.answer = refusing(EARLY[case], taken=rng.randrange(1_000_000), pause=pause, linger=True)
        response = upload(sidecar, token, chunked=chunked)
        assert (response.status, response.body, response.complete) == (413, b"big", True)


def test_an_upload_that_is_refused_with_a_reset_is_told_so_as_well(
    sidecar: Sidecar, early: Upstream, token: str
) -> None:
    """The answer stands in our kernel's buffer when our writing fails: it counts."""
    rng = random.Random(7)  # noqa: S311  the same moments in every run
    for _ in range(50):
        case = rng.choice(["with a length", "with chunks", "with a length and unannounced"])
        pause = rng.choice([0, 0, 0.001, 0.01])
        early.answer = refusing(EARLY[case], taken=rng.randrange(1_000_000), pause=pause, linger=False)
        response = upload(sidecar, token, chunked=rng.random() < 0.5)
        assert (response.status, response.body, response.complete) == (413, b"big", True)


def test_an_answer_without_a_length_that_a_reset_ends_is_not_whole(
    sidecar: Sidecar, early: Upstream, token: str
) -> None:
    def resetting(_: Received, connection: socket.socket) -> bool:
        connection.sendall(EARLY["to the end of the stream"].encode())
        wait_until_read(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        return False

    early.answer = resetting
    for _ in range(10):
        response = upload(sidecar, token)
        assert not response.complete or response.status == 502


@pytest.mark.parametrize("refused", [True, False])
def test_the_rest_of_an_upload_is_sent_unless_it_is_refused(
    sidecar: Sidecar, early: Upstream, token: str, refused: bool
) -> None:
    """An upstream may stream its answer while it reads, and close afterwards."""
    taken = 0

    def counting(_: Received, connection: socket.socket) -> bool:
        nonlocal taken
        status = 413 if refused else 200
        connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: 3\r\nConnection: close\r\n\r\n".encode())
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while data := connection.recv(65536):
                taken += len(data)
        connection.sendall(b"big")
        return False

    early.answer = counting
    size = 65536 * 1000
    response = upload(sidecar, token, size)
    assert (response.body, response.complete) == (b"big", True)
    assert (taken > size / 2) != refused
