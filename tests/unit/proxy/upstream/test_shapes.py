"""A response that has a known shape is passed on as the parser would have had it passed on."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core.causes import Fault
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.proxy.limits import PoolLimits, UpstreamTimeouts
from sidecar.proxy.ports import WholeResponse
from sidecar.proxy.upstream import reader, shapes
from sidecar.proxy.upstream.connection import UpstreamConnection
from sidecar.proxy.upstream.shapes import ResponseShapes
from tests.support.transport import Pipe

FIRST = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 5\r\nConnection: keep-alive\r\nSet-Cookie: a=1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: b=2\r\n\r\nhello"
)
PLAIN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX: y\r\n\r\nno"


@pytest.fixture(autouse=True, scope="module")
def one_moment() -> Iterator[None]:
    """Both ways add the same `Date`, whenever they do."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (reader, shapes):
            patch.setattr(module, "date_line", lambda: b"Date: Thu, 26 Nov 2026 10:00:00 GMT\r\n")
        yield


class NoShapes(ResponseShapes):
    """Leaves every response to the parser."""

    def read(self, data: bytes) -> WholeResponse | None:
        return None


class CountingShapes(ResponseShapes):
    """Counts the responses that were not left to it."""

    def __init__(self) -> None:
        super().__init__(4.0)
        self.known = 0

    def read(self, data: bytes) -> WholeResponse | None:
        whole = super().read(data)
        self.known += whole is not None
        return whole


class Pool:
    """Notes what becomes of its one connection."""

    timeouts = UpstreamTimeouts(1, 1, 1)
    limits = PoolLimits(10, 4.0, 100.0)
    hosts = ((b"", ""),)

    def __init__(self, shapes: ResponseShapes) -> None:
        self.loop: Any = None
        self.shapes = shapes
        self.fate: list[str] = []

    def monotonic(self) -> float:
        return 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.fate.append(name)


class Answer:
    """Notes a response as it would be written."""

    resendable = False
    wanted = True
    upgrade = b""
    sending = False
    sent_at = 0.0
    awaits_switch = False

    def __init__(self, *, head_request: bool) -> None:
        self.head_request = head_request
        self.status: object = 0
        self.head = self.body = self.end = b""

    def on_connected(self, connection: UpstreamConnection) -> None: ...

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.head += b"%d " % status + reason + b"".join(headers.pieces)

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        self.status = status
        self.head += b"HTTP/1.1 %d %b\r\n" % (status, reason) + b"".join(headers.pieces)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def stop_sending(self) -> None: ...

    def on_trailers(self, pieces: list[bytes]) -> None:
        self.end += b"".join(pieces)

    def on_whole(self, whole: WholeResponse, now: float) -> None:
        self.status, self.head, self.body = whole
        self.end = b"complete"

    def on_complete(self, now: float) -> None:
        self.end += b"complete"

    def flush(self) -> None: ...

    def on_failure(self, fault: Fault) -> None:
        self.status = fault.reason

    def may_reuse(self) -> bool:
        return True


def passed_on(shapes: ResponseShapes, responses: list[bytes], *, head_request: bool = False) -> list[object]:
    """What comes of these responses, each in one read and on one connection until that is given up."""
    pool = Pool(shapes)
    found: list[object] = []
    connection: Any = None
    for response in responses:
        kept = bool(pool.fate) and pool.fate[-1] == "release"
        if connection is None or connection.receiver is not None or not kept:
            connection = UpstreamConnection(pool, 0)
            connection.connection_made(Pipe(socket=sys.__stdin__))  # a descriptor is all that is asked of it
        answer = Answer(head_request=head_request)
        connection.send(answer, b"", 0.0)
        connection.data_received(response)
        found.append((answer.status, answer.head, answer.body, answer.end, list(pool.fate)))
    return found


def compare(responses: list[bytes], *, head_request: bool = False) -> int:
    """Compare the two ways; how many responses had a known shape."""
    shapes = CountingShapes()
    assert passed_on(shapes, responses, head_request=head_request) == passed_on(
        NoShapes(4.0), responses, head_request=head_request
    )
    return shapes.known


def test_what_differs_in_values_only_has_the_same_shape() -> None:
    other = (
        FIRST.replace(b"10:00:00", b"10:00:01").replace(b"a=1", b"a=\xe4\t;").replace(b": 5\r\n", b": 10\r\n")
        + b", you"
    )
    assert compare([FIRST, other, FIRST, PLAIN, other, PLAIN, FIRST]) == 5


def test_fields_that_end_here_do_not_go_on() -> None:
    [(_, head, body, _, _)] = passed_on(ResponseShapes(4.0), [FIRST])
    assert passed_on(ResponseShapes(4.0), [FIRST, FIRST])[1][1:3] == (head, body)
    assert b"onnection" not in head
    assert b"Keep-Alive" not in head


@pytest.mark.parametrize("whole", [FIRST, PLAIN])
@pytest.mark.parametrize(
    "change",
    [
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"Content-Length: ", b"Content-Length: +"),
        (b"Content-Length: ", b"Content-Length: 0"),
        (b"Content-Length: ", b"Content-Length:"),
        (b"Content-Length: ", b"Content-Length:  "),
        (b"Content-Length: ", b"Content-Length : "),
        (b"Content-Length: ", b"content-length: "),
        (b"Content-Length: ", b"Content-Length: 5, "),
        (b"Content-Length: ", b"X-Length: "),
        (b"Content-Length: ", b"Content-Length: 1"),
        (b"Content-Length: ", b"Content-Length: 99999999999999999"),
        (b"\r\n\r\n", b"\r\n\r\nmore"),
        (b"\r\n\r\n", b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (b"\r\n\r\n", b"\n\n"),
        (b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
        (b"keep-alive", b"close"),
        (b"keep-alive", b"X"),
        (b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nUpgrade: websocket\r\n\r\n"),
        (b"a=1", b"a\x00"),
        (b"a=1", b"a\rb"),
        (b"a=1", b"a\nb: c"),
        (b"a=1", b"a\x0bb"),
        (b"a=1", b"a\x7f"),
        (b"a=1", b""),
        (b"a=1", b" "),
        (b"a=1", b"a "),
        (b"a=1", b"\ta"),
        (b"X: y", b"X: y\t"),
        (b"X: y", b"X:y"),
        (b" 200 OK", b" 200"),
        (b" 200 OK", b" 200 "),
        (b" 200 OK", b" 204 OK"),
        (b" 200 OK", b" 304 OK"),
        (b" 200 OK", b" 101 OK"),
        (b" 200 OK", b" 103 OK"),
        (b" 200 OK", b" 0200 OK"),
        (b" 200 OK", b" 200 \x01"),
        (b" 200 OK", b" 200 O\0K"),
        (b" 200 OK", b" 200 O\x7fK"),
        (b" 200 OK", b" 999 OK"),
    ],
)
def test_what_differs_otherwise_is_for_the_parser(whole: bytes, change: tuple[bytes, bytes]) -> None:
    changed = whole.replace(*change, 1)
    compare([whole, changed, whole, changed, changed, whole])
    compare([changed, changed, whole])
    compare([changed, whole, changed], head_request=True)


@pytest.mark.parametrize("whole", [FIRST, PLAIN])
@pytest.mark.parametrize("answer", [b"\r\n\r\n", b"\r\n", b"\n", b"\0", b"", b"HTTP", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_without_a_status_line_has_no_shape(whole: bytes, answer: bytes) -> None:
    """Neither before a head has matched its shape, nor afterwards."""
    compare([whole, answer, whole])
    compare([whole, whole, answer, whole])
    compare([whole, whole, whole, answer, answer])


def test_a_length_with_leading_zeros_is_for_the_parser() -> None:
    """It goes on without them."""
    padded = FIRST.replace(b"Content-Length: 5", b"Content-Length: 005")
    assert compare([padded, padded]) == 0
    assert compare([FIRST, padded, FIRST]) == 1


def test_the_answer_to_head_is_for_the_parser() -> None:
    assert compare([FIRST, FIRST.removesuffix(b"hello")] * 3, head_request=True) == 0


def test_a_response_in_two_reads_is_for_the_parser() -> None:
    for cut in range(1, len(FIRST)):
        pool = Pool(shapes := CountingShapes())
        passed_on(shapes, [FIRST])
        connection = UpstreamConnection(pool, 0)
        connection.connection_made(Pipe(socket=sys.__stdin__))  # a descriptor is all that is asked of it
        answer = Answer(head_request=False)
        connection.send(answer, b"", 0.0)
        connection.data_received(FIRST[:cut])
        connection.data_received(FIRST[cut:])
        assert (answer.status, answer.body, answer.end) == (200, b"hello", b"complete")
        assert shapes.known == 0


def test_an_api_without_shapes_is_not_asked_for_them_for_ever() -> None:
    shapes = CountingShapes()
    various = [FIRST.replace(b"Server", b"X-%d" % number) for number in range(100)]
    passed_on(shapes, various)
    assert shapes.known == 0
    assert len(shapes._shapes) <= 4
    assert shapes._credit < 8


@settings(max_examples=500)
@example([(20, b"\r")], True)
@given(st.lists(st.tuples(st.integers(0, len(FIRST)), st.binary(max_size=3)), min_size=1, max_size=3), st.booleans())
def test_a_mutated_response_is_passed_on_alike(changes: list[tuple[int, bytes]], replace: bool) -> None:
    changed = bytearray(FIRST)
    for position, data in changes:
        changed[position : position + (len(data) if replace else 0)] = data
    compare([FIRST, bytes(changed), FIRST, bytes(changed)])
