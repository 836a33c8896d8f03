"""Clients that do not read, do not finish, or say the impossible: nobody else pays for it, and no answer is cut unseen."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process import Sidecar, get, running
from tests.support.raw import Response, exchange, read_all, read_response
from tests.support.tcp import queues_of_peer, unread, wait_until_read
from tests.support.upstream import Received, Unanswering, Upstream, reply, saying
from tests.support.waiting import wait_until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    return {
        "timeouts": {"request_header": "400ms", "idle": "800ms", "response": "5s"},
        "limits": {"headers": "16KiB", "request_line": "4KiB", "in_flight": 8},
        "routes": [{"path": "/public/**", "access": "public"}],
    }


def head(token: str, target: str = "/x", method: str = "GET", *extra: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: a", f"Authorization: Bearer {token}", *extra, "", ""]
    return "\r\n".join(lines).encode()


def reason(response: Response) -> str:
    return str(json.loads(response.body)["reason"])


def resident(sidecar: Sidecar) -> int:
    pages = Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize("length", ["18446744073709551615", "18446744073709551614", "99999999999999999999999"])
def test_the_largest_length_is_no_missing_length(sidecar: Sidecar, upstream: Upstream, token: str, length: str) -> None:
    """What follows such a head is its body: as a request of its own it would be smuggled."""
    data = head(token, "/first", "POST", f"Content-Length: {length}") + head(token, "/smuggled")
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.sendall(data)
        assert read_response(connection, "POST").status in (400, 408, 413)
        assert read_all(connection) == b"", "nothing more is read from it"
    assert exchange(sidecar.address, head(token, "/after")).status == 200
    assert [received.target for received in upstream.take()] == ["/after"]


@contextlib.contextmanager
def flooding(sidecar: Sidecar, request: bytes, *, reading: bool) -> Iterator[socket.socket]:
    """A client that pipelines without end, in a thread; gives its connection."""
    stop = threading.Event()

    def run() -> None:
        data, sent = request * 4000, 0
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                sent += connection.send(data[sent % len(request) :])
            if reading:
                with contextlib.suppress(TimeoutError):
                    connection.recv(4 * MIB)

    with socket.create_connection(sidecar.address, timeout=30) as connection:
        connection.settimeout(0.05)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield connection
        finally:
            stop.set()
            thread.join()


def test_a_client_that_pipelines_without_end_does_not_stop_the_others(sidecar: Sidecar, token: str) -> None:
    request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    with flooding(sidecar, request, reading=True), flooding(sidecar, request, reading=True):
        wait_until(lambda: sidecar.metric("sidecar_requests_total", code="401") > 20_000, within=30)
        slowest = 0.0
        for _ in range(20):
            begun = time.monotonic()
            assert get(f"{sidecar.public}/ok", Authorization=f"Bearer {token}")[0] == 200
            assert get(f"{sidecar.admin}/healthz")[0] == 200
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 5, "the worker belongs to one client"


def test_a_client_that_reads_no_answers_gets_no_more_of_them(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, timeouts={"idle": "30s"}) as sidecar:
        before = resident(sidecar)
        with flooding(sidecar, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", reading=False) as connection:

            def stopped() -> bool:
                """The sidecar has answers that the client does not take, and answers nobody but the others."""
                queues, answered = queues_of_peer(connection), sidecar.metric("sidecar_requests_total", code="401")
                for _ in range(20):
                    assert get(f"{sidecar.public}/ok")[0] == 401
                done = sidecar.metric("sidecar_requests_total", code="401") == answered + 20
                return done and queues is not None and queues.unsent > 0 and queues.unread > 0

            wait_until(stopped, within=30)
            assert resident(sidecar) - before < 16 * MIB


def slow_reader(
    sidecar: Sidecar, request: bytes, before: Callable[[socket.socket], object], *, rate: int = 2 * MIB
) -> bytes:
    """Send a request, do something with the connection, and only then read the answer, slowly."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.settimeout(10)
        connection.connect(sidecar.address)
        connection.sendall(request)
        before(connection)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(rate // 20):
                data += part
                time.sleep(0.05)
            return data
        return data + b"<reset>"


def answer_begun(connection: socket.socket) -> None:
    """Wait until some of the answer is there."""
    wait_until(lambda: unread(connection) > 0)


BIG = reply(200, b"a" * (6 * MIB), "Connection: close")
BIG_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * (6 * MIB)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("answer", [BIG, BIG_UNTIL_CLOSE], ids=["length", "until close"])
def test_a_last_answer_is_delivered_however_slowly_it_is_read(
    sidecar: Sidecar, upstream: Upstream, token: str, version: str, answer: bytes
) -> None:
    """Closing waits for the client as long as it makes progress."""
    upstream.answer = saying(answer, keep=False)
    data = slow_reader(sidecar, head(token, "/x", "GET", "Connection: close", version=version), answer_begun)
    assert data.count(b"a") >= 6 * MIB
    assert not data.endswith(b"<reset>")


def test_a_last_answer_is_delivered_when_reading_begins_late(tmp_path: Path, upstream: Upstream) -> None:
    """The time for lingering begins when all was delivered. Of some sizes the last part waits here, not in the kernel."""
    sizes = [size * 64 * 1024 for size in range(1, 64, 3)]
    upstream.answer = lambda received, connection: bool(
        connection.sendall(reply(200, b"a" * int(received.target[1:]), "Connection: close"))
    )
    with running(tmp_path, upstream.url, timeouts={"idle": "30s"}) as sidecar, contextlib.ExitStack() as stack:
        token = sidecar.token()
        connections = [stack.enter_context(socket.socket()) for _ in sizes]
        for connection, size in zip(connections, sizes, strict=True):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(sidecar.address)
            connection.sendall(head(token, f"/{size}", "GET", "Connection: close"))
        time.sleep(4)  # longer than the sidecar lingers
        assert [len(read_response(connection).body) for connection in connections] == sizes


def test_a_client_that_stops_reading_an_answer_without_length_sees_it_cut(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    """HTTP/1.0: an orderly close would say that this was all."""
    upstream.answer = saying(BIG_UNTIL_CLOSE, keep=False)

    def cut(connection: socket.socket) -> None:
        answer_begun(connection)
        wait_until(lambda: queues_of_peer(connection) is None)

    data = slow_reader(sidecar, head(token, version="1.0"), cut, rate=64 * MIB)
    assert data.count(b"a") < 6 * MIB
    assert data.endswith(b"<reset>")


@pytest.mark.parametrize("path", ["/oauth/token", "/public/x", "/none"])
def test_a_connection_whose_answer_nobody_reads_is_closed(sidecar: Sidecar, upstream: Upstream, path: str) -> None:
    """Also when the last word was said already."""
    upstream.answer = saying(BIG)
    wait_until(lambda: sidecar.metric("sidecar_connections") == 0)
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(sidecar.address)
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(20_000 if path == "/none" else 1):
                connection.sendall(request)
        wait_until(lambda: sidecar.metric("sidecar_connections") == 0, within=10)


def test_draining_delivers_what_was_answered(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer = saying(BIG_UNTIL_CLOSE, keep=False)
    with running(tmp_path, upstream.url) as sidecar:
        request = head(sidecar.token(), version="1.0")

        def stop(connection: socket.socket) -> None:
            answer_begun(connection)
            threading.Thread(target=sidecar.process.terminate).start()

        data = slow_reader(sidecar, request, stop)
        assert data.partition(b"\r\n\r\n")[2].count(b"a") == 6 * MIB
        assert not data.endswith(b"<reset>")


def test_what_draining_cuts_is_seen_as_cut(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer = saying(BIG_UNTIL_CLOSE, keep=False)
    with running(tmp_path, upstream.url, timeouts={"drain": "300ms"}) as sidecar:
        request = head(sidecar.token(), version="1.0")

        def stop(connection: socket.socket) -> None:
            answer_begun(connection)
            sidecar.stop()

        data = slow_reader(sidecar, request, stop, rate=64 * MIB)
        assert data.count(b"a") < 6 * MIB
        assert data.endswith(b"<reset>")


HALF_FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na="


@pytest.mark.parametrize("path", [b"/oauth/token", b"/x"])
def test_half_bodies_take_no_place_of_requests_that_are_whole(
    sidecar: Sidecar, upstream: Upstream, token: str, path: bytes
) -> None:
    """More of them than `limits.in_flight`; those beyond as many are refused at once."""
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(socket.create_connection(sidecar.address, timeout=5)) for _ in range(12)]
        for connection in halves:
            connection.sendall(b"POST %b HTTP/1.1\r\nHost: a\r\n" % path + HALF_FORM)
        assert exchange(sidecar.address, head(token, "/whole")).status == 200
        statuses = sorted(read_response(connection, "POST").status for connection in halves)
        assert statuses == [408] * 8 + [503] * 4
    assert sidecar.metric("sidecar_in_flight_requests") == 0
    assert [received.target for received in upstream.take()] == ["/whole"]


def test_a_dripped_body_has_its_time(sidecar: Sidecar) -> None:
    """A byte now and then does not make it last."""
    with socket.create_connection(sidecar.address, timeout=0.1) as connection:
        connection.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: a\r\n" + HALF_FORM)
        answer, begun = b"", time.monotonic()
        while not answer:
            assert time.monotonic() - begun < 5, "it is still being read"
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1000)
            if not answer:
                connection.sendall(b"b")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_final_answer_instead_of_100_ends_the_connection(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """The client may send its body or leave it: the next bytes could be either."""
    upstream.early = True
    upstream.answer = saying(reply(417))
    try:
        with socket.create_connection(sidecar.address, timeout=5) as connection:
            connection.sendall(head(token, "/x", "POST", "Content-Length: 5", "Expect: 100-continue"))
            response = read_response(connection, "POST")
            assert (response.status, response.values("connection")) == (417, ["close"])
            connection.sendall(head(token, "/next"))
            assert read_all(connection) == b""
    finally:
        upstream.early = False
    assert [received.target for received in upstream.take()] == ["/x"]


def test_a_pipelined_request_has_a_clock_of_its_own(tmp_path: Path, upstream: Upstream) -> None:
    """The wait for the answer before it is not held against its upstream."""

    def slow(received: Received, connection: socket.socket) -> bool:
        time.sleep(1.2)
        connection.sendall(reply(200, received.target.encode()))
        return True

    upstream.answer = slow
    with running(tmp_path, upstream.url, timeouts={"response": "2s"}) as sidecar:
        token = sidecar.token()
        with socket.create_connection(sidecar.address, timeout=15) as connection:
            connection.sendall(head(token, "/1") + head(token, "/2") + head(token, "/3", "GET", "Connection: close"))
            answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize("count", [31, 32, 40, 100])
def test_many_requests_behind_a_body_in_two_reads_are_all_answered(
    sidecar: Sidecar, upstream: Upstream, token: str, count: int
) -> None:
    upstream.answer = lambda received, connection: bool(connection.sendall(reply(200, b"")) or True)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(token, "/post", "POST", "Content-Length: 5") + b"ab")
        wait_until_read(connection)
        connection.sendall(b"cde" + head(token, "/get") * count + head(token, "/last", "GET", "Connection: close"))
        assert read_all(connection).count(b"HTTP/1.1 200 ") == count + 2
    assert upstream.take()[0].body == b"abcde"


@pytest.mark.parametrize("count", [30, 31, 32, 40])
def test_a_body_behind_many_requests_is_waited_for(
    sidecar: Sidecar, upstream: Upstream, token: str, count: int
) -> None:
    upstream.answer = lambda received, connection: bool(connection.sendall(reply(200, b"")) or True)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        post = head(token, "/post", "POST", "Content-Length: 5", "Connection: close")
        connection.sendall(head(token, "/get") * count + post + b"ab")
        wait_until_read(connection)
        connection.sendall(b"cde")
        assert read_all(connection).count(b"HTTP/1.1 200 ") == count + 1


def test_a_head_that_begins_behind_another_is_measured_whole(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    padding = [f"X-{number}: {'a' * 1000}" for number in range(24)]
    second = head(token, "/second", "GET", *padding)
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.sendall(head(token, "/first") + second[: len(second) // 2])
        assert read_response(connection).status == 200
        connection.sendall(second[len(second) // 2 :])
        response = read_response(connection)
        assert (response.status, reason(response)) == (431, "headers_too_large")
    assert [received.target for received in upstream.take()] == ["/first"]


def test_a_head_that_begins_behind_another_has_its_time(sidecar: Sidecar, token: str) -> None:
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.sendall(head(token, "/first") + b"GET /second HTTP/1.1\r\nX-")
        assert read_response(connection).status == 200
        assert read_response(connection).status == 408


def test_the_upstream_of_a_stalled_upload_is_told(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upload = upstream.answer = Unanswering()
    upstream.early = True
    try:
        request = head(token, "/x", "PUT", "Content-Length: 100") + b"abc"
        assert exchange(sidecar.address, request, "PUT").status == 408
        assert upload.gone.wait(2)
        assert [received.target for received in upstream.take()] == ["/x"]
    finally:
        upstream.early = False


def test_a_steady_slow_client_is_no_stalled_one(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    """It takes longer than `timeouts.idle` for what is buffered, and still all of it."""
    upstream.answer = saying(reply(200, b"a" * (2 * MIB)))
    data = slow_reader(sidecar, head(token, "/x", "GET", "Connection: close"), answer_begun, rate=MIB)
    assert data.count(b"a") >= 2 * MIB


def test_idle_is_counted_from_the_end_of_the_answer(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    def slow(received: Received, connection: socket.socket) -> bool:
        time.sleep(1.5)
        connection.sendall(reply(200))
        return True

    upstream.answer = slow
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.sendall(head(token))
        assert read_response(connection).status == 200
        time.sleep(0.4)
        upstream.answer = saying(reply(204, b""))
        connection.sendall(head(token))
        assert read_response(connection).status == 204


@pytest.mark.parametrize("framing", ["Content-Length: 12000", "Transfer-Encoding: chunked"])
def test_the_limit_of_bodies_holds_where_they_are_read_for_a_token(
    tmp_path: Path, upstream: Upstream, token: str, framing: str
) -> None:
    body = f"access_token={token}&a=".encode().ljust(12000, b"a")
    if "chunked" in framing:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    fields = f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n{framing}\r\n\r\n"
    with running(tmp_path, upstream.url, limits={"body": "10KiB"}) as sidecar:
        response = exchange(sidecar.address, fields.encode() + body, "POST")
    assert (response.status, reason(response)) == (413, "body_too_large")
    assert upstream.take() == []


def test_empty_lines_before_a_request_are_passed_over_each_time(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        for number in range(4):
            connection.sendall(b"\r\n" + head(token, f"/{number}"))
            assert read_response(connection).status == 200
    assert [received.target for received in upstream.take()] == [f"/{number}" for number in range(4)]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_bytes_behind_a_split_end_of_an_upgrade_are_not_lost(
    sidecar: Sidecar, upstream: Upstream, token: str, cut: int
) -> None:
    """Whoever speaks before the answer gets no tunnel, so that nothing of it can be lost or read as something else."""
    seen: list[list[str]] = []

    def answer(received: Received, connection: socket.socket) -> bool:
        seen.append(received.values("upgrade"))
        connection.sendall(reply(200))
        return True

    upstream.answer = answer
    request = head(token, "/ws", "GET", "Connection: Upgrade", "Upgrade: foo")
    with socket.create_connection(sidecar.address, timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request[:-cut])
        wait_until_read(connection)
        connection.sendall(request[-cut:] + b"\x81")
        assert read_response(connection).status == 200
    assert seen == [[]]


def test_a_half_closed_client_gets_an_answer_that_has_begun(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    def slow(received: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"a" * 10)
            time.sleep(0.5)
        return False

    upstream.answer = slow
    with socket.create_connection(sidecar.address, timeout=15) as connection:
        connection.sendall(head(token, version="1.0"))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(b"\r\n\r\n" + b"a" * 50)


def test_all_pipelined_requests_before_a_half_close_are_answered(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    upstream.answer = lambda received, connection: bool(connection.sendall(reply(200, b"")) or True)
    with socket.create_connection(sidecar.address, timeout=15) as connection:
        connection.sendall(head(token) * 100)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).count(b"HTTP/1.1 200 ") == 100


def test_a_reset_while_an_answer_waits_leaves_nothing(sidecar: Sidecar, upstream: Upstream, token: str) -> None:
    upstream.answer = saying(BIG)
    for _ in range(20):
        connection = socket.create_connection(sidecar.address, timeout=5)
        connection.sendall(head(token) * 3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    wait_until(lambda: sidecar.metric("sidecar_connections") == 0)
    wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 0)
