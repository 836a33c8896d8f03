"""Reads the requests of one client connection: bytes in, requests or a fault out. It knows no socket and no clock.

The parser is aiohttp's. What it leaves to us:

- Whether a request line names HTTP (`request_line`).
- How large a head is, and how many fields it has.
- How many requests may wait: a queue full of them, then the rest is held back.
- Trailers: the parser takes the last one for a field of the next request.
- Whether a read ends where a request ends. Upgrades that are ignored, trailers and repeated heads depend on it.

Most clients keep a connection and repeat their header section on it with every request. So the *rest* of a head, all of it
after the request line, is remembered together with what the parser made of it, and when it comes again in one read,
with nothing else and nothing left over from before, only the request line is read anew: a strict expression takes the plain
ones, and everything else goes to the parser. `tests/unit/proxy/client/test_reader.py` compares the two ways.
"""

import asyncio
import re
from collections import deque
from typing import Final, NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.request_headers import may_switch
from sidecar.core.reasons import Reason
from sidecar.proxy.client.request_line import RequestLineWatch
from sidecar.proxy.client.trailers import TrailerWatch
from sidecar.proxy.limits import ClientLimits
from sidecar.proxy.request import Request, RequestBroken, declared_length

MAX_PIPELINED: Final = 32
_READ_BUFFER: Final = 64 * 1024
# Nothing in it that two parsers could read differently; RFC 3986's characters without the fragment.
_PLAIN_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1"
)
_RAW_TARGET: Final = re.compile(rb"[A-Z]+ [!-~]*[\x80-\xff][!-~\x80-\xff]* HTTP/1\.[01]\r\n")
_NOTHING: Final = (b"", 0)
_HEAD_END: Final = b"\r\n\r\n"


class Unreadable(NamedTuple):
    """Why nothing more of a stream can be read; `cause` is behind the reason, as far as it is known."""

    reason: Reason
    cause: Fault | None = None

    @property
    def known(self) -> Fault | None:
        """The cause, where it belongs to the reason."""
        return self.cause if self.cause is not None and self.cause.reason is self.reason else None

    @property
    def detail(self) -> str | None:
        """The sentence that tells the client of it."""
        return self.known and f"{self.known.cause.sentence[:1].upper()}{self.known.cause.sentence[1:]}."


class FlowControl(BaseProtocol):
    """What bodies tell when nobody takes more of them for now. The connection is one."""

    __slots__ = ()

    @property
    def reading_held(self) -> bool:
        """Whether a body is full, so that the parser holds back what follows."""
        return self._reading_paused

    def use_parser(self, parser: HttpRequestParser) -> None:
        """Tell this one from now on when a body is full."""
        self._parser = parser


class RequestReader:
    """The requests of one connection. `feed` takes its reads; `queue` has what came of them, and `pop` hands out the oldest.
    `fault` is set when nothing more can be read. `flow` is told by bodies that are full; it calls `feed(b"")` to go on."""

    __slots__ = (
        "_clean",
        "_deaf",
        "_ends",
        "_flow",
        "_head_end",
        "_held",
        "_incomplete",
        "_limits",
        "_line",
        "_loop",
        "_repeatable",
        "_swallows",
        "_tail",
        "_trailers",
        "_trailing",
        "body",
        "fault",
        "full",
        "head_bytes",
        "parser",
        "queue",
        "rest",
        "spoke_early",
    )

    def __init__(self, flow: FlowControl, loop: asyncio.AbstractEventLoop, limits: ClientLimits) -> None:
        self._loop = loop
        self._flow = flow
        self._limits = limits
        self.parser = self._new_parser()
        self._trailers = TrailerWatch()
        self._line = RequestLineWatch()
        self.queue: deque[Request] = deque()  # requests that were read and not begun
        self.fault: Unreadable | None = None  # what ends the stream, once the queue is done
        self.full = False  # the parser holds back what follows a full queue
        self.body: StreamReader = EMPTY_PAYLOAD  # of the last request that was parsed
        self._incomplete: StreamReader | None = None  # the body, not yet whole, of a request that left the queue
        self._held = _NOTHING  # a read of which the parser holds back a part, and what its body had before
        # The head that is not whole yet.
        self.head_bytes = 0
        self._head_end = b""  # the last three of them
        # The head that may be repeated.
        self._clean = True  # the parser is between two messages, and that is certain
        self.rest = b""  # of the last head, all after its request line; empty: none can be repeated
        self._repeatable: RawRequestMessage | None = None  # what the parser made of it
        # Upgrades.
        self._deaf = False  # one was asked for: what follows the request is not ours to parse
        self.spoke_early = False  # bytes came after such a request, before its answer
        self._swallows = False  # one that is ignored was: the parser drops what follows the request in the same read
        # Trailers.
        self._trailing = False  # the body that comes may have some behind it
        self._tail = b""  # the last bytes of it
        self._ends: dict[StreamReader, bytes] = {}  # of bodies that may have some: the last bytes

    def __repr__(self) -> str:
        state = self.fault.reason.word if self.fault else "in a body" if self.receiving else "between requests"
        return f"<RequestReader {state} +{len(self.queue)}{' full' if self.full else ''}>"

    def _new_parser(self) -> HttpRequestParser:
        limits = self._limits
        return HttpRequestParser(
            self._flow,
            self._loop,
            _READ_BUFFER,
            max_line_size=limits.request_line,
            max_field_size=limits.headers + (limits.headers == limits.request_line),  # told apart by its limit
            max_headers=4 * limits.header_count,  # ours comes first and says 431
            payload_exception=RequestBroken,
            auto_decompress=False,
            max_msg_queue_size=MAX_PIPELINED,
        )

    # What came.

    @property
    def receiving(self) -> bool:
        """Whether more of a body is to come."""
        return not self.body.is_eof()

    @property
    def finishing(self) -> bool:
        """Whether the body of a request that left the queue is not whole yet."""
        return self._incomplete is not None

    def take(self) -> Request:
        """The oldest request of the queue, which must not be empty."""
        request = self.queue.popleft()
        payload = request[1]
        if payload.is_eof():
            self.parser.message_consumed()
        else:
            self._incomplete = payload
            self.full = False  # the rest of it was held back, too
        return request

    def end_of(self, body: StreamReader) -> bytes:
        """The last bytes of a request whose body is whole, as they came, as far as trailers may be among them. Once."""
        return self._ends.pop(body, b"") if self._ends else b""

    # The stream.

    def feed(self, data: bytes) -> bool:
        """Take a read, or with `b""` what was held back of an earlier one. Whether a request came of it. After a `fault`
        there must be no more."""
        body = self.body
        in_head = body.is_eof()
        if self._deaf and in_head:
            self.spoke_early = True
            return False
        if in_head and not self._line.head(data):
            return self.fail(Reason.MALFORMED_REQUEST)
        # What the parser had held back is the end of a read that was seen before.
        read, before = (data, 0 if in_head else body.total_bytes) if data else self._held
        clean, self._clean = self._clean, False
        try:
            messages, _, _ = self.parser.feed_data(data)
        except Exception as exc:  # noqa: BLE001  aiohttp raises ValueError too for what it cannot read
            return self.fail(_reason_of(exc, self._limits.request_line), _unreadable(data) if in_head else None)
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
            self.parser = self._new_parser()
            self._flow.use_parser(self.parser)
        held = self.full or (not self.body.is_eof() and self._flow.reading_held)
        self._held = (read, before) if held else _NOTHING
        return bool(messages)

    def _note_message(
        self, data: bytes, body: StreamReader, messages: list[Request], finished: int, *, alone: bool
    ) -> list[Request]:
        """Keep what depends on where a request ends: the end of a `body` with trailers, and an upgrade that is ignored."""
        self._swallows = False
        if self._trailing and finished:
            self._keep_end(body, alone=alone)
        if messages and messages[-1][0].upgrade and alone:
            return [self._without_upgrade(data, *messages[-1])]
        return messages

    def fail(self, reason: Reason, cause: Fault | None = None) -> bool:
        """Nothing after this point of the stream can be understood, or is waited for. Requests that were read still count.
        Returns whether a request came: no."""
        self.fault = Unreadable(reason, cause)
        self.rest = b""
        self._break_body()
        return False

    def end(self) -> None:
        """The client sends no more: a body that is not whole never will be. A request with such a body is not begun."""
        if self.receiving:
            if self.queue and self.queue[-1][1] is self.body:
                self.queue.pop()
            self._break_body()

    def close(self) -> None:
        """No request of this stream will be begun any more."""
        self.queue.clear()
        self.rest = b""
        self._break_body()

    def _break_body(self) -> None:
        body, self.body = self.body, EMPTY_PAYLOAD
        if not body.is_eof():
            body.set_exception(RequestBroken())

    def _finish_message(self) -> int:
        # The parser counts a message when it is whole, and only then can be told that it left the queue.
        if self._incomplete is None or not self._incomplete.is_eof():
            return 0
        self._incomplete = None
        self.parser.message_consumed()
        return 1

    def _go_on_with_head(self, data: bytes) -> None:
        self.head_bytes += len(data)
        self._head_end = (self._head_end + data)[-3:]
        if self.head_bytes > self._limits.headers + self._limits.request_line:
            self.fail(Reason.HEADERS_TOO_LARGE)

    def _accept(self, messages: list[Request], data: bytes, finished: int, *, clean: bool) -> None:
        limits = self._limits
        last, body = messages[-1]
        joined = self._head_end + data
        # A head that came alone, in small reads, need not be measured.
        measured = not clean or len(messages) > 1 or self.head_bytes + len(data) > limits.headers
        if last.upgrade:
            # Only what ends with the head holds nothing more.
            self.spoke_early = joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)
        if clean and len(messages) == 1:
            self._note_end(data, last, body)
        if last.chunked and "Trailer" in last.headers:
            self._trailing = True
            self._tail = joined[-limits.headers :]
            if body.is_eof():
                self._keep_end(body, alone=len(messages) == 1)
        # The next head has begun when a request without a body is not the end of the read.
        self.head_bytes = int(body is EMPTY_PAYLOAD and not joined.endswith(_HEAD_END))
        self._head_end = b""
        # The parser goes no further than this until some were consumed; what is not whole yet does not count.
        full = len(self.queue) + len(messages) + finished - (not body.is_eof()) >= MAX_PIPELINED
        for message, payload in messages:
            if payload is EMPTY_PAYLOAD and declared_length(message) != 0:
                self.fail(Reason.MALFORMED_REQUEST)  # aiohttp takes the largest length for none
                return
            if len(message.raw_headers) > limits.header_count or (
                measured and sum(len(n) + len(v) + 4 for n, v in message.raw_headers) > limits.headers
            ):
                self.fail(Reason.HEADERS_TOO_LARGE)
                return
            self.queue.append((message, payload))
            self.body = payload
            self._deaf = message.upgrade
        self.full = self.full or full

    def _keep_end(self, body: StreamReader, *, alone: bool) -> None:
        self._ends[body] = self._tail if alone else b""  # else it is unknown where in it the request ends
        self._trailing = False

    def _without_upgrade(self, data: bytes, message: RawRequestMessage, payload: StreamReader) -> Request:
        """A request that came alone, as if it had not asked for an upgrade that is never done, such as to h2c: its connection
        goes on. Not when it cannot be told whether the parser has dropped something behind it."""
        joined = self._head_end + data
        if message.chunked or (payload is EMPTY_PAYLOAD and joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)):
            return message, payload
        protocols = "".join("," + value for value in message.headers.getall("Upgrade", ()))
        if may_switch(protocols.encode("latin-1", "replace")) or message.method == "CONNECT":
            return message, payload
        self._swallows = not payload.is_eof()
        return message._replace(upgrade=False), payload

    # Repeated heads.

    def _note_end(self, data: bytes, message: RawRequestMessage, payload: StreamReader) -> None:
        """Find out whether `data`, which made one message, ends with it, and whether its head can be repeated."""
        length = declared_length(message)
        end = data.find(_HEAD_END) + len(_HEAD_END) + (length or 0)
        self.rest = b""
        self._clean = length is not None and payload.is_eof() and not message.upgrade and end == len(data)
        plain = payload is EMPTY_PAYLOAD and message.version == (1, 1) and not message.should_close
        if self._clean and plain and data[:1] not in (b"\r", b"\n"):  # llhttp passes over empty lines before a request
            self.rest = data[data.index(b"\r\n") :]
            self._repeatable = message

    def repeated(self, data: bytes) -> RawRequestMessage | None:
        """The message of a read that is a plain request line with the rest of the head before, when the queue is empty. Such
        a read is not to be fed. Ask only while there is a `rest`."""
        if self.queue or not data.endswith(self.rest):
            return None
        size = len(data) - len(self.rest)
        match = _PLAIN_LINE.fullmatch(data, 0, size)
        last = self._repeatable
        if match is None or last is None or not self._clean or size > self._limits.request_line:
            return None
        method, path = match[1].decode(), match[2].decode()
        if method == last.method and path == last.path:
            return last
        return RawRequestMessage(
            method,
            path,
            last.version,
            last.headers,
            last.raw_headers,
            last.should_close,
            last.compression,
            last.upgrade,
            last.chunked,
            last.url,
        )


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


def _reason_of(exc: Exception, request_line: int) -> Reason:
    """aiohttp has one error for every line that is too long; only its limit tells which."""
    if isinstance(exc, LineTooLong):
        return Reason.REQUEST_LINE_TOO_LONG if exc.args[1] == request_line else Reason.HEADERS_TOO_LARGE
    return Reason.MALFORMED_REQUEST


def _unreadable(data: bytes) -> Fault | None:
    """What is known of a head that the parser did not take: mistakes that clients are known to make."""
    if data.startswith(b"PRI * HTTP/2.0"):
        return Fault(Cause.HTTP2_PRIOR_KNOWLEDGE)
    if data[:2] == b"\x16\x03":
        return Fault(Cause.TLS_TO_PLAIN_PORT)
    return Fault(Cause.TARGET_NOT_ENCODED) if _RAW_TARGET.match(data) else None
