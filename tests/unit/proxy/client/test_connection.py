"""A connection begins the requests that its reader reads, in order and one after the other."""

import asyncio
from typing import Any

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.reasons import Reason
from sidecar.core.replies import Reply
from sidecar.proxy.client.connection import ClientConnection
from sidecar.proxy.client.reader import MAX_PIPELINED, RequestReader
from sidecar.proxy.client.states import State
from sidecar.proxy.limits import ClientLimits, ClientTimeouts
from tests.support.transport import Pipe


class Ended:
    """An exchange that is over."""

    keep_alive = True

    def __init__(self, payload: StreamReader) -> None:
        self.payload = payload


class Recorder:
    """A connection manager that notes what it is given and ends every exchange at once."""

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
        ended: Any = Ended(payload)
        connection.exchange_ended(ended, now)

    def exchange_ended(self, exchange: object) -> None: ...

    def log_failure(self, part: str, exc: Exception) -> None:
        raise exc

    def apply_compat(self, reply: Reply) -> Reply:
        return reply

    def report_unparsed(self, connection: ClientConnection, reason: Reason, fault: object = None) -> None:
        self.seen.append(reason)


class Parsing(RequestReader):
    """Leaves every head to the parser."""

    __slots__ = ()

    def repeated(self, data: bytes) -> RawRequestMessage | None:
        return None


class ParsingConnection(ClientConnection):
    """Has such a reader."""

    __slots__ = ()

    def __init__(self, manager: Any) -> None:
        super().__init__(manager)
        self.reader = Parsing(self, manager.loop, manager.limits)
        self._parser = self.reader.parser


def seen(chunks: list[bytes], kind: type[ClientConnection] = ClientConnection) -> list[Any]:
    """What a connection makes of these reads; bodies as far as they came."""

    async def feed() -> list[Any]:
        recorder = Recorder(asyncio.get_running_loop())
        connection = kind(recorder)  # type: ignore[arg-type]
        connection.connection_made(Pipe())
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


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6), st.data())
@settings(max_examples=300, deadline=None)
def test_requests_begin_alike_whether_their_heads_repeat_or_not(parts: list[bytes], data: Any) -> None:
    assert seen(parts) == seen(parts, ParsingConnection)
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert seen(chunks) == seen(chunks, ParsingConnection)


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
