"""A connection begins the requests that its reader reads, in order and one after the other."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.core.http.fields import request_kinds
from sidecar.core.http.forwarded import ForwardedFields
from sidecar.core.http.plain_heads import SMALL, PlainHead, PlainHeads
from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.reader import MAX_PIPELINED
from sidecar.proxy.client.states import State
from sidecar.proxy.limits import ClientLimits, ClientTimeouts
from sidecar.proxy.memory import MemoryBudget
from sidecar.proxy.request import Body, Message, declared_length
from tests.support.transport import Pipe


class Ended:
    """An exchange that is over."""

    def __init__(self, payload: Body, *, keep_alive: bool) -> None:
        self.payload = payload
        self.keep_alive = keep_alive


class Recorder:
    """A connection manager that notes what it is given and ends every exchange at once."""

    limits = ClientLimits(10, 10, 1024, 4096, 32, 1024**3, 6144)
    crowded = False
    timeouts = ClientTimeouts(10, 10)
    draining = False

    def __init__(self, loop: asyncio.AbstractEventLoop, heads: PlainHeads | None = None) -> None:
        self.loop = loop
        self.seen: list[object] = []
        self.plain = 0  # requests that were read by their shape
        self.handler = SimpleNamespace(heads=heads or trained())
        self.memory: MemoryBudget[ClientConnection] = MemoryBudget(
            1024**3, 6144, connections=lambda: 1, refuse=ClientConnection.give_up
        )

    def monotonic(self) -> float:
        return 0.0

    def opened(self, connection: ClientConnection) -> None: ...

    def closed(self, connection: ClientConnection) -> None: ...

    def describe(self, peer: str, certificate: bytes | None) -> ForwardedFields:
        return ForwardedFields(peer)

    def start_exchange(self, connection: ClientConnection, message: Message, payload: Body, now: float) -> None:
        fields = (message.method, message.path, message.version, message.raw_headers, bool(message.should_close))
        came = payload.read_nowait() if payload.total_bytes else b""
        self.seen.append(
            (*fields, bool(message.upgrade), bool(message.chunked), declared_length(message), came, payload)
        )
        self.plain += isinstance(message, PlainHead)
        ended: Any = Ended(payload, keep_alive=not message.should_close)
        connection.exchange_ended(ended, now)

    def exchange_ended(self, exchange: object) -> None: ...

    def log_failure(self, part: str, exc: Exception) -> None:
        raise exc

    def apply_compat(self, reply: Reply) -> Reply:
        return reply

    def report_unparsed(self, connection: ClientConnection, reason: Reason, fault: object = None) -> None:
        self.seen.append(reason)


def trained(*sections: bytes) -> PlainHeads:
    """Knows the shapes of these header sections."""
    heads = PlainHeads(request_kinds(), host=None, line=1024, size=4096, count=32)
    for section in sections:
        names = [line.partition(b":")[0] for line in section.strip(b"\r\n").split(b"\r\n")]
        for _ in range(16):
            heads.learn([(name, b"") for name in names])
    return heads


def seen(chunks: list[bytes], heads: PlainHeads | None = None) -> list[Any]:
    """What a connection makes of these reads: each request with what came of its body at first, and how its body ended."""

    async def feed() -> list[Any]:
        recorder = Recorder(asyncio.get_running_loop(), heads)
        connection = ClientConnection(recorder)  # type: ignore[arg-type]
        connection.connection_made(Pipe())
        for chunk in chunks:
            connection.data_received(chunk)
            await asyncio.sleep(0)  # what is held back comes in its turn
        found: list[Any] = []
        for item in recorder.seen:
            if isinstance(item, tuple):
                *fields, payload = item
                broken = payload.exception()
                found.append((*fields, payload.total_bytes, payload.is_eof(), broken and type(broken)))
            else:
                found.append(item)
        return found

    return asyncio.run(feed())


def words(found: list[Any]) -> list[object]:
    return [item if isinstance(item, Reason) else item[1] for item in found]


REST = b" HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
PARTS = [
    b"GET /a" + REST, b"GET /b" + REST, b"GET /a" + REST + b"GET /b" + REST, POST + b"abc", POST, b"abc", b"ab", b"\r\n", b"G",
    b"GET /k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"garbage\r\n\r\n",
]  # fmt: skip


LINE_REST = b"\r\nHost: a\r\nAuthorization: Bearer t\r\nX: 1\r\n\r\n"
LINES = [
    b"GET /orders HTTP/1.1", b"GET /orders/1?a=b%20c HTTP/1.1", b"DELETE /orders/2 HTTP/1.1", b"HEAD / HTTP/1.1",
    b"POST /orders HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT h:1 HTTP/1.1", b"GET http://h/x HTTP/1.1",
    b"GET /a#b HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /x HTTP/1.0", b"GET /x HTTP/2.0",
    b"get /x HTTP/1.1", b"GET  /x HTTP/1.1", b"GET /x HTTP/1.1 ", b"GET\t/x HTTP/1.1", b"", b"\r\nGET /x HTTP/1.1",
    b"GET /x HTTP/1.1\r\nContent-Length: 5", b"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked", b"GET /x HTTP/1.1\nY: 2",
    b"GET /" + b"a" * 2000 + b" HTTP/1.1", b"PROPFIND /x HTTP/1.1", b"GET /\x00 HTTP/1.1", b'GET /"<>|{}^` HTTP/1.1',
]  # fmt: skip
RESTS = [
    LINE_REST, b"\r\nHost: a\r\n\r\n", b"\r\nHost: a\r\nConnection: close\r\n\r\n", b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"\r\nHost: a\r\nContent-Length: 3\r\n\r\n", b"\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"\r\n\r\n", b"\n\n",
]  # fmt: skip
MESSAGES = [
    *(line + rest for line in LINES[:4] for rest in RESTS),
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"ab",
    b"\r\n",
    b"G",
]


KNOWN = trained(
    REST, b"Host: a", LINE_REST, *RESTS[1:5], b"Host: a\r\nConnection: close", b"Host: a\r\nContent-Length: 3"
)


def alike(chunks: list[bytes]) -> list[Any]:
    """Both ways of reading give the same; this is it."""
    found, parsed = seen(chunks, KNOWN), seen(chunks)
    if len(found) > len(parsed):
        # The parser keeps silent about garbage that ends the body of an answered request in the same read.
        assert found.pop() is Reason.MALFORMED_REQUEST, chunks
    assert found == parsed, chunks
    return found


def test_known_shapes_are_used() -> None:
    """So that the comparisons compare something."""

    async def go() -> None:
        recorder = Recorder(asyncio.get_running_loop(), KNOWN)
        connection = ClientConnection(recorder)  # type: ignore[arg-type]
        connection.connection_made(Pipe())
        chunks = [*(line + LINE_REST for line in LINES[:5]), POST + b"abc", POST + b"a", b"bc", LINES[0] + LINE_REST]
        for chunk in chunks:
            connection.data_received(chunk)
        assert (recorder.plain, len(recorder.seen)) == (8, 8)
        assert not connection.reader._parsing
        connection.data_received(LINES[0] + LINE_REST + LINES[0] + LINE_REST)
        connection.data_received(LINES[0] + LINE_REST)
        assert (recorder.plain, len(recorder.seen)) == (8, 11)  # it is not known where the parser is

    asyncio.run(go())


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6), st.data())
@settings(max_examples=300, deadline=None)
def test_requests_begin_alike_whether_their_shape_is_known_or_not(parts: list[bytes], data: Any) -> None:
    alike(parts)
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    alike([stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)])


@pytest.mark.parametrize("first", RESTS)
@pytest.mark.parametrize("line", LINES)
def test_every_line_after_every_head(line: bytes, first: bytes) -> None:
    for rest in (LINE_REST, first):
        alike([LINES[0] + first, line + rest])
        alike([LINES[0] + first, b"abc", line + rest, LINES[0] + first])


def test_a_request_that_was_cut_in_the_middle_is_not_mistaken() -> None:
    """The end of one read is the start of a body: what looks like a known head is that body."""
    smuggled = LINES[0] + LINE_REST
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    for chunks in (
        [smuggled, head, smuggled],
        [smuggled, head[:20], head[20:] + smuggled],
        [smuggled, head[:-2], b"\r\n", smuggled],
        [smuggled, head + smuggled[:9], smuggled[9:]],
    ):
        assert [item[0] for item in alike(chunks)] == ["GET", "POST"]


@pytest.mark.parametrize("length", [0, 1, 3, SMALL, SMALL + 1])
@pytest.mark.parametrize("came", [0, 1, 3])
@pytest.mark.parametrize("surplus", [b"", b"G", LINES[0] + LINE_REST])
def test_bodies_of_any_length_end_where_they_end(length: int, came: int, surplus: bytes) -> None:
    came = min(came, length)
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
    stream = b"b" * length + surplus
    alike([head + stream[:came], stream[came:], LINES[0] + LINE_REST])
    alike([head + stream[: length // 2], stream[length // 2 :], LINES[0] + LINE_REST])


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), st.data())
@settings(max_examples=400, deadline=None)
@example([MESSAGES[0], MESSAGES[0]], None)
def test_any_stream_is_read_alike_however_it_is_cut(parts: list[bytes], data: Any) -> None:
    """Whole messages a read, and the same stream cut anywhere."""
    alike(parts)
    if data is not None:
        stream = b"".join(parts)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
        alike([stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)])


@given(
    st.binary(max_size=40),
    st.integers(0, 60),
    st.sampled_from([b"", b"\r", b"\n", b"\x00", b"\xff", b" ", b"#", b"\\"]),
)
@settings(max_examples=300, deadline=None)
def test_a_mutated_head_is_read_alike(noise: bytes, position: int, byte: bytes) -> None:
    whole = LINES[1] + LINE_REST
    for mutated in (
        whole[:position] + byte + whole[position:],
        whole[:position] + byte + whole[position + 1 :],
        noise + whole,
    ):
        alike([LINES[0] + LINE_REST, mutated])
        alike([mutated])


def test_every_request_of_a_long_pipeline_is_begun_in_order() -> None:
    count = 3 * MAX_PIPELINED
    flood = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))
    assert words(seen([flood, *[b""] * 4])) == [f"/{number}" for number in range(count)]


def test_nothing_is_served_after_our_last_word() -> None:
    assert words(seen([b"GET /a" + REST, b"garbage\r\n\r\n", b"GET /a" + REST])) == ["/a", Reason.MALFORMED_REQUEST]


def test_a_state_that_cannot_follow_is_logged_and_ends_nothing() -> None:
    """A defect of ours costs a line of the log, never the worker."""

    async def go() -> None:
        recorder = Recorder(asyncio.get_running_loop())
        logged: list[str] = []
        recorder.log_failure = lambda part, exc: logged.append(f"{part}: {exc}")  # type: ignore[method-assign]
        connection = ClientConnection(recorder)  # type: ignore[arg-type]
        connection.connection_made(Pipe())
        connection._become(State.TUNNEL)
        assert logged == ["connection: idle to tunnel"]

    asyncio.run(go())


def test_the_states_of_a_connection_by_what_comes() -> None:
    async def go() -> None:
        connection = ClientConnection(Recorder(asyncio.get_running_loop()))  # type: ignore[arg-type]
        assert connection.state is State.ARRIVING
        connection.connection_made(Pipe())
        assert connection.state is State.IDLE
        connection.data_received(b"GET /a HT")
        assert connection.state is State.HEAD
        connection.data_received(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert connection.state is State.IDLE
        connection.data_received(POST + b"ab")
        assert connection.state is State.EMPTYING
        connection.data_received(b"c")
        assert connection.state is State.IDLE
        connection.data_received(b"garbage\r\n\r\n")
        assert connection.state is State.LINGERING
        connection.connection_lost(None)
        assert connection.state is State.CLOSED

    asyncio.run(go())
