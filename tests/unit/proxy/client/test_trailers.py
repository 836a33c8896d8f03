"""A trailer of one request is never a field of the next, which may be another client's behind a balancer."""

import pytest

from sidecar.core.reasons import Reason
from sidecar.proxy.client.reader import MAX_PIPELINED, FlowControl, RequestReader
from sidecar.proxy.limits import ClientLimits
from sidecar.proxy.request import Request

LIMITS = ClientLimits(10, 10, 1024, 4096, 32, 1024**3, 6144)
GET = b"GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
PLAIN = b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
MEAN = PLAIN[:-2] + b"X: y\r\nAuthorization: Bearer another\r\n\r\n"
OWN = (b"Host", b"X")


class Stream(FlowControl):
    """A connection without a socket; `slow` begins no request until the end."""

    __slots__ = ("begun", "reader", "slow")

    def __init__(self, *, slow: bool) -> None:
        loop: object = object()
        self.reader = RequestReader(self, loop, LIMITS)  # type: ignore[arg-type]  # nothing waits
        self.slow = slow
        self.begun: list[Request] = []
        super().__init__(loop)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if not reader.fault:
            reader.feed(data)
        while not self.slow and (reader.queue or (reader.full and not reader.fault)):
            self.go_on()

    def go_on(self) -> None:
        reader = self.reader
        while reader.queue:
            self.begun.append(reader.take())
        if reader.full and not reader.fault:
            reader.full = False
            reader.feed(b"")


def read(*chunks: bytes, slow: bool = False) -> list[object]:
    """What comes of these reads: of each request the path and the names of its fields."""
    stream = Stream(slow=slow)
    for chunk in chunks:
        stream.data_received(chunk)
    while slow and (stream.reader.queue or (stream.reader.full and not stream.reader.fault)):
        stream.go_on()
    found: list[object] = [(message.path, *(name for name, _ in message.raw_headers)) for message, _ in stream.begun]
    return [*found, stream.reader.fault.reason] if stream.reader.fault else found


CHUNKED = ("/c", b"Host", b"Transfer-Encoding")
GOT = ("/a", *OWN)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("cut", range(len(MEAN)))
def test_a_trailer_is_never_a_field_of_the_next_request(cut: int, *, slow: bool) -> None:
    assert read(MEAN[:cut], MEAN[cut:], GET, GET, slow=slow) == [CHUNKED, GOT, GOT]
    assert read(GET, MEAN[:cut], MEAN[cut:], MEAN, GET, slow=slow) == [GOT, CHUNKED, CHUNKED, GOT]


@pytest.mark.parametrize("cut", range(len(GET)))
def test_what_begins_in_one_read_with_the_trailers_is_refused(cut: int) -> None:
    """The parser has it by then."""
    told = read(MEAN + GET[:cut], GET[cut:])
    assert told == ([CHUNKED, GOT] if cut == 0 else [CHUNKED, Reason.MALFORMED_REQUEST])
    assert read(MEAN[:-9], MEAN[-9:] + GET[:cut], GET[cut:]) == told


def test_a_whole_request_in_one_read_with_the_trailers_is_refused() -> None:
    assert read(MEAN + GET) == [Reason.MALFORMED_REQUEST]
    assert read(MEAN + MEAN) == [Reason.MALFORMED_REQUEST]


@pytest.mark.parametrize("cut", range(len(PLAIN + GET)))
def test_chunked_requests_without_trailers_may_be_pipelined(cut: int) -> None:
    stream = PLAIN + GET
    assert read(stream[:cut], stream[cut:], PLAIN + PLAIN + GET) == [CHUNKED, GOT, CHUNKED, CHUNKED, GOT]


@pytest.mark.parametrize("kind", [PLAIN, MEAN])
def test_nothing_is_lost_that_the_parser_holds_back(kind: bytes) -> None:
    """The queue is full with the chunked request, and more came with it."""
    flood = GET * (MAX_PIPELINED - 1) + kind + GET + GET
    told = read(flood, slow=True)
    assert told[:MAX_PIPELINED] == [GOT] * (MAX_PIPELINED - 1) + [CHUNKED]
    assert told[MAX_PIPELINED:] == ([GOT, GOT] if kind is PLAIN else [Reason.MALFORMED_REQUEST])
