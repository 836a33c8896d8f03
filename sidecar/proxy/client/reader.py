"""Reads the requests of one client connection: bytes in, requests or a fault out. It uses no socket and no clock.

The parser is aiohttp's. This module adds what the parser does not check:

- Whether a request line names HTTP (`request_line`).
- The size of a head and the number of its fields.
- The number of waiting requests: when the queue is full, further input is held back.
- Trailers: the parser takes the last one for a field of the next request.
- Whether a read ends where a request ends. Ignored upgrades, trailers and plain requests depend on it.

Plain requests do not come here: `core.http.plain_heads` reads them. It may do so while the reader is `clean`, between two
requests that each ended with their read. The reader takes only the rest of a small body of theirs (`begin`), and creates its
parser for the first read that is not plain. `tests/unit/proxy/test_two_ways.py` compares the two ways.
"""

import asyncio
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from sidecar.core.causes import Fault
from sidecar.core.http.request_headers import may_switch
from sidecar.core.reasons import Reason
from sidecar.proxy.client import weights
from sidecar.proxy.client.request_line import RequestLineWatch
from sidecar.proxy.client.trailers import TrailerWatch
from sidecar.proxy.client.unreadable import Unreadable, mistake_in, reason_of
from sidecar.proxy.limits import ClientLimits
from sidecar.proxy.request import Body, Request, RequestBroken, declared_length
from sidecar.proxy.small_body import SmallBody

MAX_PIPELINED: Final = 32
_READ_BUFFER: Final = 64 * 1024
_NOTHING: Final = (b"", 0)
_HEAD_END: Final = b"\r\n\r\n"


class FlowControl(BaseProtocol):
    """Receives the flow-control calls of a request body whose buffer is full. A client connection is one."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """aiohttp would set `TCP_NODELAY` here, with four system calls. The event loop has already set it."""
        self.transport = transport  # type: ignore[assignment]  # only stream transports are accepted

    @property
    def reading_held(self) -> bool:
        """Whether a body is full, so that the parser holds back what follows."""
        return self._reading_paused

    def use_parser(self, parser: HttpRequestParser | None) -> None:
        """Use this parser from now on; it is told when a body is full. Without one nothing is read any more."""
        self._parser = parser


class RequestReader:
    """The requests of one connection. `feed` takes each read, `queue` has the requests that were parsed, and `take` returns
    the oldest. `fault` is set when nothing more can be read. `flow` is told when a body is full; it calls `feed(b"")` to
    resume."""

    __slots__ = (
        "_ends",
        "_flow",
        "_head_end",
        "_held",
        "_incomplete",
        "_limits",
        "_line",
        "_loop",
        "_parsing",
        "_small",
        "_swallows",
        "_tail",
        "_trailers",
        "_trailing",
        "_unfinished",
        "_upgrade_requested",
        "body",
        "clean",
        "fault",
        "full",
        "head_bytes",
        "parser",
        "queue",
        "spoke_early",
    )

    parser: HttpRequestParser
    _trailers: TrailerWatch
    _line: RequestLineWatch
    _unfinished: weights.UnfinishedHead

    def __init__(self, flow: FlowControl, loop: asyncio.AbstractEventLoop, limits: ClientLimits) -> None:
        self._loop = loop
        self._flow = flow
        self._limits = limits
        self._parsing = False  # whether the parser and its watches exist; a connection with plain requests needs none
        self.queue: list[Request] = []  # requests that were parsed and not started
        self.fault: Unreadable | None = None  # ends the stream once the queue has been processed
        self.full = False  # the queue is full, and the parser holds back what follows
        self.body: Body = EMPTY_PAYLOAD  # of the last request
        self._incomplete: StreamReader | None = None  # the incomplete body of a request that left the queue
        self._held = _NOTHING  # a read that the parser partly holds back, and how many bytes its body had before it
        # The incomplete head.
        self.head_bytes = 0
        self._head_end = b""  # its last three bytes
        # Requests that need no parser.
        self.clean = True  # the next byte is known to begin a request
        self._small: SmallBody | None = None  # the incomplete body of such a request
        # Upgrades.
        self._upgrade_requested = False  # the last request asked for an upgrade: what follows is not HTTP
        self.spoke_early = False  # bytes arrived after such a request, before its response
        self._swallows = False  # the last upgrade was ignored: the parser drops what follows it in the same read
        # Trailers.
        self._trailing = False  # the incoming body may have trailers
        self._tail = b""  # the last bytes of that body
        self._ends: dict[Body, bytes] = {}  # by body that may have trailers: its last bytes

    def __repr__(self) -> str:
        state = self.fault.reason.word if self.fault else "in a body" if self.receiving else "between requests"
        return f"<RequestReader {state} +{len(self.queue)}{' full' if self.full else ''}>"

    def _begin_parsing(self) -> None:
        self._parsing = True
        self.parser = _new_parser(self._flow, self._loop, self._limits)
        self._flow.use_parser(self.parser)
        self._trailers, self._line, self._unfinished = TrailerWatch(), RequestLineWatch(), weights.UnfinishedHead()

    def use(self, limits: ClientLimits) -> None:
        """Apply other limits from the next request on, unless the parser may already have a part of that request."""
        if limits is not self._limits and self.clean and self.body.is_eof() and not self.queue:
            self._limits, self._parsing = limits, False

    # Results.

    @property
    def receiving(self) -> bool:
        """Whether more of a body is expected."""
        return not self.body.is_eof()

    @property
    def weight(self) -> int:
        """About how many bytes of memory the incomplete head and the requests that wait take."""
        if not self._parsing:
            return 0
        size = self._unfinished.weight + len(self._held[0]) + len(self._tail) + sum(map(len, self._ends.values()))
        for message, body in self.queue:
            size += weights.of_head(message) + weights.of_body(body, whole=False)
        return size

    @property
    def finishing(self) -> bool:
        """Whether the body of a request that was started is still incomplete."""
        return self._incomplete is not None or self._small is not None

    def take(self) -> Request:
        """The oldest request of the queue, which must not be empty."""
        request = self.queue.pop(0)
        payload = request[1]
        if payload.is_eof():
            self.parser.message_consumed()
        else:
            self._incomplete = payload
            self.full = False  # the rest of the body was held back, too
        return request

    def end_of(self, body: Body) -> bytes:
        """The last raw bytes of a complete request body, which may include trailers. Can be read once."""
        return self._ends.pop(body, b"") if self._ends else b""

    def forget(self, body: Body) -> None:
        """A complete body and its last bytes are no longer needed."""
        self.end_of(body)
        if body is self.body:
            self.body = EMPTY_PAYLOAD

    # The stream.

    def feed(self, data: bytes) -> bool:
        """Parse a read, or with `b""` what was held back of an earlier one. Returns whether it completed a request head. Must
        not be called after a `fault`."""
        small = self._small
        if small is not None:
            data = small.feed(data)
            if small.is_eof():
                self._small = None
            if not data:
                return False
        if not self._parsing:
            self._begin_parsing()
        return self._parse(data)

    def _parse(self, data: bytes) -> bool:
        body = self.body
        in_head = body.is_eof()
        if self._upgrade_requested and in_head:
            self.spoke_early = True
            return False
        if in_head and not self._line.head(data):
            return self.fail(Reason.MALFORMED_REQUEST)
        # What the parser held back is the end of a read that was seen before.
        read, before = (data, 0 if in_head else body.total_bytes) if data else self._held
        # A body that is read wakes the parser, which may have nothing to do.
        clean, self.clean = self.clean, self.clean and not data and self._held is _NOTHING
        try:
            messages, _, _ = self.parser.feed_data(data)
        except Exception as exc:  # noqa: BLE001  aiohttp also raises ValueError for input that it cannot parse
            return self.fail(reason_of(exc, self._limits.request_line), mistake_in(data) if in_head else None)
        self._tail = (self._tail + data)[-self._limits.headers :] if self._trailing else b""
        finished = self._finish_message()
        if finished and self._swallows and body.total_bytes - before != len(read):
            return self.fail(Reason.MALFORMED_REQUEST)
        if messages or finished:
            if finished:
                end = self._tail if self._trailing else read
                alone = not messages and (body.total_bytes - before == len(read) or end.endswith(_HEAD_END))
            else:
                alone = _alone(self._head_end + read, messages)
            begun = not alone and (not messages or messages[-1][1].is_eof())  # the next head has, or is held back
            self._unfinished = weights.UnfinishedHead(read.rpartition(_HEAD_END)[2] if begun else b"")
            if not self._line.ended(read, alone=alone):
                return self.fail(Reason.MALFORMED_REQUEST)
            noted = self._swallows or self._trailing or (messages and messages[-1][0].upgrade)
            messages = self._note_message(read, body, messages, finished, alone=alone) if noted else messages
        trailers = self._trailers
        watched = trailers.watching or (messages and (messages[0][0].chunked or len(messages) > 1))
        if watched and trailers.mixed(read, messages, ended=not in_head and body.is_eof()):
            return self.fail(Reason.MALFORMED_REQUEST)
        if messages:
            self._accept(messages, read, finished, clean=clean)
        elif in_head and data and not finished:
            self._go_on_with_head(data)
        if trailers.watching and trailers.passed(read, held=self.full):
            self.parser = _new_parser(self._flow, self._loop, self._limits)
            self._flow.use_parser(self.parser)
        held = self.full or (not self.body.is_eof() and self._flow.reading_held)
        self._held = (read, before) if held else _NOTHING
        return bool(messages)

    def _note_message(
        self, data: bytes, body: Body, messages: list[Request], finished: int, *, alone: bool
    ) -> list[Request]:
        """Handle what depends on where a request ends: the end of a `body` with trailers, and an ignored upgrade."""
        self._swallows = False
        if self._trailing and finished:
            self._keep_end(body, alone=alone)
        if messages and messages[-1][0].upgrade and alone:
            return [self._without_upgrade(data, *messages[-1])]
        return messages

    def fail(self, reason: Reason, cause: Fault | None = None) -> bool:
        """Nothing after this point of the stream can be parsed, or is awaited. Requests parsed before remain valid. Always
        returns False: no request was read."""
        self.fault = Unreadable(reason, cause)
        self.clean = False
        self._break_body()
        return False

    def end(self) -> None:
        """The client sends no more, so an incomplete body never completes. A queued request with such a body is not started."""
        if self.receiving:
            if self.queue and self.queue[-1][1] is self.body:
                self.queue.pop()
            self._break_body()

    def close(self) -> None:
        """Start no further request of this stream, and keep nothing of it. Nothing may be fed any more."""
        self.queue.clear()
        self.clean = False
        self._break_body()
        self._held, self._tail, self._ends = _NOTHING, b"", {}
        if self._parsing:
            self._parsing = False
            del self.parser  # it may hold a head, and the connection may linger
            self._flow.use_parser(None)

    def _break_body(self) -> None:
        body, self.body = self.body, EMPTY_PAYLOAD
        self._small = None
        if not body.is_eof():
            body.set_exception(RequestBroken())

    def _finish_message(self) -> int:
        # The parser counts a message once it is complete; only then can it be told that the message left the queue.
        if self._incomplete is None or not self._incomplete.is_eof():
            return 0
        self._incomplete = None
        self.parser.message_consumed()
        return 1

    def _go_on_with_head(self, data: bytes) -> None:
        self.head_bytes += len(data)
        self._unfinished.add(data)
        self._head_end = (self._head_end + data)[-3:]
        if self.head_bytes > self._limits.headers + self._limits.request_line:
            self.fail(Reason.HEADERS_TOO_LARGE)

    def _accept(self, messages: list[Request], data: bytes, finished: int, *, clean: bool) -> None:
        limits = self._limits
        last, body = messages[-1]
        joined = self._head_end + data
        # A head that came alone, in small reads, cannot exceed the limit and need not be measured.
        measured = not clean or len(messages) > 1 or self.head_bytes + len(data) > limits.headers
        if last.upgrade:
            # Bytes after the end of the head came before the response.
            self.spoke_early = joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)
        if clean and len(messages) == 1:
            self.clean = _ends(data, last, body)
        if last.chunked and "Trailer" in last.headers:
            self._trailing = True
            self._tail = joined[-limits.headers :]
            if body.is_eof():
                self._keep_end(body, alone=len(messages) == 1)
        # If a request without a body does not end the read, the next head has begun.
        self.head_bytes = int(body is EMPTY_PAYLOAD and not joined.endswith(_HEAD_END))
        self._head_end = b""
        # The parser stops at this number until some messages are consumed; an incomplete one does not count.
        full = len(self.queue) + len(messages) + finished - (not body.is_eof()) >= MAX_PIPELINED
        for message, payload in messages:
            if payload is EMPTY_PAYLOAD and declared_length(message) != 0:
                self.fail(Reason.MALFORMED_REQUEST)  # aiohttp treats the largest possible length as no body
                return
            if len(message.raw_headers) > limits.header_count or (
                measured and sum(len(n) + len(v) + 4 for n, v in message.raw_headers) > limits.headers
            ):
                self.fail(Reason.HEADERS_TOO_LARGE)
                return
            self.queue.append((message, payload))
            self.body = payload
            self._upgrade_requested = message.upgrade
        self.full = self.full or full

    def _keep_end(self, body: Body, *, alone: bool) -> None:
        self._ends[body] = self._tail if alone else b""  # otherwise it is unknown where in it the request ends
        self._trailing = False

    def _without_upgrade(self, data: bytes, message: RawRequestMessage, payload: StreamReader) -> Request:
        """Clear the upgrade flag of a request that came alone and asks for an upgrade that is never done, such as h2c, so
        that its connection can continue. The request is left as it is when the parser may have dropped bytes that follow it."""
        joined = self._head_end + data
        if message.chunked or (payload is EMPTY_PAYLOAD and joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)):
            return message, payload
        protocols = "".join("," + value for value in message.headers.getall("Upgrade", ()))
        if may_switch(protocols.encode("latin-1", "replace")) or message.method == "CONNECT":
            return message, payload
        self._swallows = not payload.is_eof()
        return message._replace(upgrade=False), payload

    # Requests that need no parser.

    def begin(self, body: SmallBody) -> None:
        """A request was read without the parser, which needs a `clean` reader and an empty queue; this is the part of its body
        that came with it. The parser sees nothing of that request."""
        self.body = body
        self._small = None if body.is_eof() else body


def _new_parser(flow: FlowControl, loop: asyncio.AbstractEventLoop, limits: ClientLimits) -> HttpRequestParser:
    return HttpRequestParser(
        flow,
        loop,
        _READ_BUFFER,
        max_line_size=limits.request_line,
        max_field_size=limits.headers + (limits.headers == limits.request_line),  # an error shows its limit
        max_headers=4 * limits.header_count,  # so that the check of `header_count` comes first, with 431
        payload_exception=RequestBroken,
        auto_decompress=False,
        max_msg_queue_size=MAX_PIPELINED,
    )


def _ends(data: bytes, message: RawRequestMessage, payload: StreamReader) -> bool:
    """Whether `data`, which made one message, ends with that message."""
    length = declared_length(message)
    end = data.find(_HEAD_END) + len(_HEAD_END) + (length or 0)
    return length is not None and payload.is_eof() and not message.upgrade and end == len(data)


def _alone(joined: bytes, messages: list[Request]) -> bool:
    """Whether a read, joined to the end of a head that began before it, holds nothing but one request, or the beginning of
    its body."""
    message, payload = messages[0]
    if len(messages) > 1 or not payload.is_eof():
        return len(messages) == 1
    if payload is EMPTY_PAYLOAD and joined.endswith(_HEAD_END):
        return True
    length = declared_length(message)
    return joined.find(_HEAD_END) + len(_HEAD_END) + length == len(joined) if length else joined.endswith(_HEAD_END)
