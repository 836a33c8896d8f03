"""A head that repeats the last one is read as the parser would have read it."""

import asyncio
from typing import Any

import pytest
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.ports import ClientLimits, ClientTimeouts


class Recorder:
    """A listener that notes what it is given and ends every exchange at once."""

    limits = ClientLimits(10, 10, 1024, 4096, 32)
    crowded = False
    timeouts = ClientTimeouts(10, 10)
    draining = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.seen: list[object] = []

    def monotonic(self) -> float:
        return 0.0

    def opened(self, connection: ClientConnection) -> None: ...

    def closed(self, connection: ClientConnection) -> None: ...

    def trusts(self, peer: str) -> bool:
        return False

    def start_exchange(
        self, connection: ClientConnection, message: RawRequestMessage, payload: StreamReader, now: float
    ) -> None:
        fields = (message.method, message.path, message.version, message.raw_headers, message.should_close)
        self.seen.append((*fields, message.upgrade, message.chunked, payload))

    def worded(self, reply: Reply) -> Reply:
        return reply

    def report_unparsed(self, connection: ClientConnection, reason: Reason, fault: object = None) -> None:
        self.seen.append(reason)


class Parsing(ClientConnection):
    """Leaves every head to the parser."""

    __slots__ = ()

    def _repeated(self, data: bytes) -> RawRequestMessage | None:
        return None


class Counting(ClientConnection):
    """Counts the heads that were not left to it."""

    __slots__ = ("repeated",)

    def _repeated(self, data: bytes) -> RawRequestMessage | None:
        message = super()._repeated(data)
        self.repeated = getattr(self, "repeated", 0) + (message is not None)
        return message


class Sink(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def seen(kind: type[ClientConnection], chunks: list[bytes]) -> tuple[list[Any], ClientConnection]:
    """What a connection makes of these reads; bodies as far as they came."""

    async def feed() -> tuple[list[Any], ClientConnection]:
        recorder = Recorder(asyncio.get_running_loop())
        connection = kind(recorder)  # type: ignore[arg-type]
        connection.connection_made(Sink())
        for chunk in chunks:
            connection.data_received(chunk)
            await asyncio.sleep(0)  # what is held back comes in its turn
        found: list[Any] = []
        for item in recorder.seen:
            if isinstance(item, tuple):
                *fields, payload = item
                try:
                    body = b"".join([payload.read_nowait()]) if payload._buffer or payload.at_eof() else b""
                except Exception as exc:  # noqa: BLE001  a broken body
                    body = type(exc).__name__.encode()
                found.append((*fields, body, payload.is_eof()))
            else:
                found.append(item)
        return found, connection

    return asyncio.run(feed())


REST = b"\r\nHost: a\r\nAuthorization: Bearer t\r\nX: 1\r\n\r\n"
LINES = [
    b"GET /orders HTTP/1.1", b"GET /orders/1?a=b%20c HTTP/1.1", b"DELETE /orders/2 HTTP/1.1", b"HEAD / HTTP/1.1",
    b"POST /orders HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT h:1 HTTP/1.1", b"GET http://h/x HTTP/1.1",
    b"GET /a#b HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /x HTTP/1.0", b"GET /x HTTP/2.0",
    b"get /x HTTP/1.1", b"GET  /x HTTP/1.1", b"GET /x HTTP/1.1 ", b"GET\t/x HTTP/1.1", b"", b"\r\nGET /x HTTP/1.1",
    b"GET /x HTTP/1.1\r\nContent-Length: 5", b"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked", b"GET /x HTTP/1.1\nY: 2",
    b"GET /" + b"a" * 2000 + b" HTTP/1.1", b"PROPFIND /x HTTP/1.1", b"GET /\x00 HTTP/1.1", b'GET /"<>|{}^` HTTP/1.1',
]  # fmt: skip
RESTS = [
    REST, b"\r\nHost: a\r\n\r\n", b"\r\nHost: a\r\nConnection: close\r\n\r\n", b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"\r\nHost: a\r\nContent-Length: 3\r\n\r\n", b"\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"\r\n\r\n", b"\n\n",
]  # fmt: skip
PARTS = [*(line + rest for line in LINES[:4] for rest in RESTS), b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"ab", b"\r\n", b"G"]


def test_repeated_heads_are_taken() -> None:
    """So that the comparison below compares something."""
    chunks = [line + REST for line in LINES[:5]]
    found, connection = seen(Counting, chunks)
    assert [(item[0], item[1]) for item in found] == [
        ("GET", "/orders"), ("GET", "/orders/1?a=b%20c"), ("DELETE", "/orders/2"), ("HEAD", "/"), ("POST", "/orders"),
    ]  # fmt: skip
    assert connection.repeated == 4  # type: ignore[attr-defined]


def test_a_body_that_ends_with_its_read_does_not_end_the_repeating() -> None:
    post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    chunks = [LINES[0] + REST, post, LINES[0] + REST, LINES[1] + REST]
    _, connection = seen(Counting, chunks)
    assert connection.repeated == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", RESTS)
@pytest.mark.parametrize("line", LINES)
def test_every_line_after_every_head(line: bytes, first: bytes) -> None:
    for rest in (REST, first):
        for chunks in ([LINES[0] + first, line + rest], [LINES[0] + first, b"abc", line + rest, LINES[0] + first]):
            assert seen(Counting, chunks)[0] == seen(Parsing, chunks)[0], chunks


def test_a_request_that_was_cut_in_the_middle_is_not_mistaken() -> None:
    """The end of one read is the start of a body: what looks like a repeated head is that body."""
    smuggled = LINES[0] + REST
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    for chunks in (
        [smuggled, head, smuggled],
        [smuggled, head[:20], head[20:] + smuggled],
        [smuggled, head[:-2], b"\r\n", smuggled],
    ):
        found, _ = seen(Counting, chunks)
        assert [item[0] for item in found] == ["GET", "POST"]
        assert found == seen(Parsing, chunks)[0]


def test_nothing_is_served_after_our_last_word() -> None:
    chunks = [LINES[0] + REST, b"garbage\r\n\r\n", LINES[0] + REST]
    found, _ = seen(Counting, chunks)
    assert [item if isinstance(item, Reason) else item[0] for item in found] == ["GET", Reason.MALFORMED_REQUEST]


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6), st.data())
@settings(max_examples=400, deadline=None)
@example([PARTS[0], PARTS[0]], None)
def test_any_stream_is_read_alike_however_it_is_cut(parts: list[bytes], data: Any) -> None:
    """Whole messages a read, and the same stream cut anywhere."""
    assert seen(Counting, parts)[0] == seen(Parsing, parts)[0]
    if data is not None:
        stream = b"".join(parts)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
        chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert seen(Counting, chunks)[0] == seen(Parsing, chunks)[0]


@given(
    st.binary(max_size=40),
    st.integers(0, 60),
    st.sampled_from([b"", b"\r", b"\n", b"\x00", b"\xff", b" ", b"#", b"\\"]),
)
@settings(max_examples=300, deadline=None)
def test_a_mutated_line_is_read_alike(noise: bytes, position: int, byte: bytes) -> None:
    line = LINES[1]
    for mutated in (
        line[:position] + byte + line[position:],
        line[:position] + byte + line[position + 1 :],
        noise + line,
    ):
        chunks = [LINES[0] + REST, mutated + REST]
        assert seen(Counting, chunks)[0] == seen(Parsing, chunks)[0]
