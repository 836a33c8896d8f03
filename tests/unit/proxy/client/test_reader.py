"""Requests are read from bytes alike, however these are cut; and a head that repeats the last one is read as the parser would
have read it."""

from typing import Any

import pytest
from aiohttp.streams import EMPTY_PAYLOAD
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.causes import Cause
from sidecar.core.reasons import Reason
from sidecar.proxy.client.reader import MAX_PIPELINED, FlowControl, RequestReader
from sidecar.proxy.client.unreadable import Unreadable
from sidecar.proxy.limits import ClientLimits
from sidecar.proxy.request import Request

LIMITS = ClientLimits(10, 10, 1024, 4096, 32, 1024**3, 6144)
LOOP: Any = object()  # nothing here waits


class Stream(FlowControl):
    """A connection without a socket: begins every request at once, and takes no body unless it is told to."""

    __slots__ = ("begun", "greedy", "reader")

    def __init__(self, *, greedy: bool = True) -> None:
        self.reader = RequestReader(self, LOOP, LIMITS)
        self.begun: list[Request] = []
        self.greedy = greedy
        super().__init__(LOOP)

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if reader.fault:
            return
        reader.feed(data)
        while self.greedy and (reader.queue or (reader.full and not reader.fault)):
            self.go_on()

    def go_on(self) -> None:
        """Begin what is in the queue, then read on."""
        reader = self.reader
        while reader.queue:
            self.begun.append(reader.take())
        if reader.full and not reader.fault:
            reader.full = False
            reader.feed(b"")

    def told(self) -> list[Any]:
        """What came, bodies as far as they did."""
        found: list[Any] = []
        for message, payload in self.begun:
            if (broken := payload.exception()) is not None:
                body = type(broken).__name__.encode()
            elif payload is EMPTY_PAYLOAD or (payload.total_bytes == 0 and not payload.is_eof()):
                body = b""
            else:
                body = payload.read_nowait()
            fields = (message.method, message.path, message.version, message.raw_headers, message.should_close)
            found.append((*fields, message.upgrade, message.chunked, body, payload.is_eof()))
        return [*found, self.reader.fault.reason] if self.reader.fault else found


def streamed(chunks: list[bytes]) -> Stream:
    stream = Stream()
    for chunk in chunks:
        stream.data_received(chunk)
    return stream


# However the bytes are cut.

GET = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 100 + b"\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nyo"
CHUNKED = b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nSum: 1\r\n\r\n"
UNTOLD = CHUNKED.replace(b"Trailer: Sum\r\n", b"").replace(b"Sum: 1\r\n", b"")
IGNORED = b"GET /d HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
OLD = b"GET /e HTTP/1.0\r\n\r\n"
STREAMS = [
    GET,
    POST,
    CHUNKED,
    OLD,
    GET + GET + GET,
    POST + GET,
    GET + CHUNKED,
    UNTOLD + POST,
    GET + UNTOLD + GET,
    b"\r\n" + GET,
]


@pytest.mark.parametrize("stream", STREAMS)
def test_every_cut_is_read_alike(stream: bytes) -> None:
    whole = streamed([stream]).told()
    assert all(isinstance(item, tuple) and item[-1] for item in whole), "each request is read, and each body is whole"
    for cut in range(len(stream) + 1):
        assert streamed([stream[:cut], stream[cut:]]).told() == whole, cut
    assert streamed([bytes([byte]) for byte in stream]).told() == whole


# Nothing follows trailers here: in one read with them it is refused.
@given(
    st.lists(
        st.sampled_from([each for each in STREAMS if CHUNKED not in each and each != OLD]), min_size=1, max_size=8
    ),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_any_cuts_of_any_requests_are_read_alike(parts: list[bytes], data: Any) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert streamed(chunks).told() == [item for part in parts for item in streamed([part]).told()]


@pytest.mark.parametrize("end", range(1, len(POST)))
def test_what_is_cut_off_is_no_request(end: int) -> None:
    """The client leaves in the middle: a request that was begun gets to know, one that was not is not begun."""
    for greedy in (True, False):
        stream = Stream(greedy=greedy)
        stream.data_received(POST[:end])
        stream.reader.end()
        head_came = end >= POST.index(b"\r\n\r\n") + 4
        assert not stream.reader.queue
        assert [item[-2:] for item in stream.told()] == ([(b"RequestBroken", False)] if head_came and greedy else [])


# What cannot be read.

UNREADABLE: list[tuple[bytes, Reason, Cause | None]] = [
    (b"garbage\r\n\r\n", Reason.MALFORMED_REQUEST, None),
    (b"GET / HTTP/1.1\r\n\r\n", Reason.MALFORMED_REQUEST, None),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Reason.MALFORMED_REQUEST, None),
    (b"OPTIONS /x RTSP/1.0\r\nHost: a\r\n\r\n", Reason.MALFORMED_REQUEST, None),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Reason.MALFORMED_REQUEST, Cause.TARGET_NOT_ENCODED),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.MALFORMED_REQUEST, Cause.HTTP2_PRIOR_KNOWLEDGE),
    (b"\x16\x03\x01\x02\x00\x01", Reason.MALFORMED_REQUEST, Cause.TLS_TO_PLAIN_PORT),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", Reason.MALFORMED_REQUEST, None),
    (b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", Reason.REQUEST_LINE_TOO_LONG, None),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 4100 + b"\r\n\r\n", Reason.HEADERS_TOO_LARGE, None),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 32 + b"\r\n", Reason.HEADERS_TOO_LARGE, None),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"x" * 1000 + b"\r\n") * 5 + b"\r\n", Reason.HEADERS_TOO_LARGE, None),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "reason", "cause"), UNREADABLE)
def test_what_cannot_be_read_is_told_with_its_reason(stream: bytes, reason: Reason, cause: Cause | None) -> None:
    fault = streamed([stream]).reader.fault
    assert fault is not None
    assert (fault.reason, fault.cause and fault.cause.cause) == (reason, cause)
    after = streamed([GET + GET, stream])
    assert [item[1] if isinstance(item, tuple) else item for item in after.told()] == ["/a?b=c", "/a?b=c", reason]


@pytest.mark.parametrize(("stream", "reason", "cause"), UNREADABLE)
def test_no_cut_makes_it_readable(stream: bytes, reason: Reason, cause: Cause | None) -> None:
    for cut in range(0, len(stream), 1 + len(stream) // 100):
        assert streamed([stream[:cut], stream[cut:]]).told()[-1:] == [reason], cut
    assert streamed([bytes([byte]) for byte in stream]).told()[-1:] == [reason]


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_a_head_that_never_ends_is_refused_in_time(size: int) -> None:
    """However its bytes come: no more of it is taken than a head may have."""
    stream = Stream()
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 250 + b"\r\n") * 30
    for start in range(0, len(head), size):
        stream.data_received(head[start : start + size])
        if stream.reader.fault:
            break
    assert stream.reader.fault == Unreadable(Reason.HEADERS_TOO_LARGE)
    assert start <= LIMITS.headers + LIMITS.request_line


def test_faults_leave_what_was_read_before() -> None:
    """And nothing after."""
    stream = Stream(greedy=False)
    stream.data_received(GET + POST + b"garbage\r\n\r\n")
    assert stream.reader.fault is not None
    assert not stream.reader.clean
    stream.reader.close()
    assert not stream.reader.queue


# The queue.


def test_no_more_requests_wait_than_the_queue_has_places() -> None:
    count = 3 * MAX_PIPELINED + 5
    stream = Stream(greedy=False)
    stream.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count)))
    while stream.reader.queue:
        assert len(stream.reader.queue) <= MAX_PIPELINED
        assert stream.reader.full == (len(stream.begun) + MAX_PIPELINED < count)
        stream.go_on()
    assert [message.path for message, _ in stream.begun] == [f"/{number}" for number in range(count)]


@pytest.mark.parametrize("cut", range(1, len(GET), 13))
def test_a_full_queue_is_full_however_its_reads_were_cut(cut: int) -> None:
    stream = Stream(greedy=False)
    flood = GET * (2 * MAX_PIPELINED)
    for start in range(0, len(flood), cut * 10):
        if stream.reader.full:
            break
        stream.data_received(flood[start : start + cut * 10])
    assert len(stream.reader.queue) == MAX_PIPELINED


# Bodies that nobody takes.


def test_a_body_that_is_not_taken_holds_back_what_follows() -> None:
    body = b"b" * 500_000
    stream = Stream()
    stream.data_received(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
    payload = stream.begun[0][1]
    came, position = b"", 0
    while not payload.at_eof():
        while not stream.reading_held and position < len(body):
            stream.data_received(body[position : position + 60_000])
            position += 60_000
            if position >= len(body):
                stream.data_received(GET)
        assert stream.reader.receiving == (not payload.is_eof())
        came += payload.read_nowait()
    assert came == body
    assert [message.path for message, _ in stream.begun] == ["/p", "/a?b=c"]


# Upgrades.


def test_bytes_after_a_request_to_upgrade_are_not_read() -> None:
    """With it or after it."""
    upgrade = b"GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    for chunks, early in [
        ([upgrade], False),
        ([upgrade, GET], True),
        ([upgrade + GET], True),
        ([upgrade[:9], upgrade[9:]], False),
    ]:
        stream = streamed(chunks)
        assert [(message.path, bool(message.upgrade)) for message, _ in stream.begun] == [("/w", True)]
        assert stream.reader.spoke_early is early


@pytest.mark.parametrize("cut", range(len(IGNORED)))
def test_an_upgrade_that_is_never_done_is_ignored(cut: int) -> None:
    stream = streamed([IGNORED[:cut], IGNORED[cut:], GET])
    assert [(message.path, bool(message.upgrade)) for message, _ in stream.begun] == [("/d", False), ("/a?b=c", False)]


def test_bytes_that_the_parser_drops_are_missed() -> None:
    """It drops what follows a request to upgrade in the same read: then that is no request to go on from."""
    stream = streamed([IGNORED + GET, GET])
    assert [message.upgrade for message, _ in stream.begun] == [True]
    with_body = IGNORED.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n")
    stream = streamed([with_body, b"ab" + GET])
    assert stream.told()[-1] is Reason.MALFORMED_REQUEST
    stream = streamed([with_body, b"ab", GET])
    assert [message.path for message, _ in stream.begun] == ["/d", "/a?b=c"]


# Trailers.


@pytest.mark.parametrize("cut", range(CHUNKED.index(b"\r\n\r\n") + 4, len(CHUNKED)))
def test_the_end_of_a_body_with_trailers_is_kept_once(cut: int) -> None:
    stream = streamed([CHUNKED[:cut], CHUNKED[cut:]])
    payload = stream.begun[0][1]
    assert stream.reader.end_of(payload).endswith(b"0\r\nSum: 1\r\n\r\n")
    assert stream.reader.end_of(payload) == b""


def test_the_end_of_a_body_that_comes_byte_by_byte_is_kept() -> None:
    stream = streamed([CHUNKED[at : at + 1] for at in range(len(CHUNKED))])
    assert stream.reader.end_of(stream.begun[0][1]).endswith(b"0\r\nSum: 1\r\n\r\n")


def test_no_end_is_kept_when_it_is_not_known_where_it_is() -> None:
    stream = streamed([CHUNKED[:-20], CHUNKED[-20:] + GET[:9]])
    assert stream.reader.end_of(stream.begun[0][1]) == b""
