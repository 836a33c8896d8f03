"""One client connection: aiohttp's request parser in front, one exchange at a time, in order.

Why a protocol of our own and not `aiohttp.web.RequestHandler`: that one starts a task, a future and a response object
per request and has no header, body or idle limit. What it is trusted for, the parser with its security releases and the
flow control that belongs to it (`BaseProtocol`, `StreamReader`), is used here unchanged.

States of a connection, and what ends each:

- *idle*      no byte of a request: `timeouts.idle`, or `timeouts.request_header` before the first request
- *head*      part of a request head: `timeouts.request_header`, then 408
- *busy*      an exchange: `timeouts.idle` without progress by the client while its bytes are waited for
- *emptying*  the answer was given before a small body had come: what is missing of it within `timeouts.request_header`
- *half-closed* the client will send no more but may wait for the answer: 1 s until that begins, then it counts as gone,
              and the upstream is told. Most clients that close their side have left.
- *tunnel*    after 101: nothing said for `timeouts.stream` (`proxy.tunnel`)
- *lingering* our last word was said, what still comes is dropped: the client's close, or 2 s after all was delivered.
              Closing at once would make the kernel reset the connection, and the client could lose the answer
              (RFC 9112 section 9.6).

When the worker goes away, an idle connection closes once its client has been silent for a second.

In every state but the tunnel, a client that takes nothing of what waits for it for `timeouts.idle` is cut. While one does not
read its answers, no further request of its is begun; and after a queue full of them, the others have their turn.

Most clients keep a connection and repeat their header section on it with every request. So the *rest* of a head, all of it
after the request line, is remembered together with what the parser made of it, and when it comes again in one read,
with nothing else and nothing left over from before, only the request line is read anew: a strict expression takes the plain
ones, and everything else goes to the parser. `tests/unit/test_repeated_heads.py` compares the two ways.
"""

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from collections import deque
from typing import Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.request_headers import may_switch
from sidecar.core.reasons import Reason
from sidecar.core.replies import refusal
from sidecar.proxy.client.certificate import forwarded_certificate
from sidecar.proxy.client.request_line import RequestLineWatch
from sidecar.proxy.ports import ConnectionManager, RequestInProgress, TunnelEnd
from sidecar.proxy.request import Memo, RequestBroken, declared_length
from sidecar.proxy.wire import encode_reply

_LINGER: Final = 2.0
_QUIET: Final = 1.0  # seconds; who was silent for as long is not expected to ask just now
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_HALF_CLOSED: Final = 1.0
_MAX_PIPELINED: Final = 32
_READ_BUFFER: Final = 64 * 1024
# Nothing in it that two parsers could read differently; RFC 3986's characters without the fragment.
_PLAIN_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1"
)
_RAW_TARGET: Final = re.compile(rb"[A-Z]+ [!-~]*[\x80-\xff][!-~\x80-\xff]* HTTP/1\.[01]\r\n")
_HEAD_END: Final = b"\r\n\r\n"
_INT: Final = bytes(4)


class ClientConnection(BaseProtocol):
    """The server side of one client connection."""

    __slots__ = (
        "_body",
        "_clean",
        "_deaf",
        "_emptied_by",
        "_ends",
        "_eof_at",
        "_fault",
        "_full",
        "_head_bytes",
        "_head_end",
        "_head_since",
        "_held",
        "_incomplete",
        "_line",
        "_linger_until",
        "_moved_at",
        "_pumping",
        "_queue",
        "_repeatable",
        "_rest",
        "_swallows",
        "_tail",
        "_trailing",
        "_undelivered",
        "_why",
        "active_at",
        "certificate",
        "exchange",
        "introduced",
        "listener",
        "memo",
        "peer",
        "scheme",
        "spoke_early",
        "trusted",
        "tunnel",
    )

    def __init__(self, listener: "ConnectionManager[ClientConnection]") -> None:
        limits = listener.limits
        parser = HttpRequestParser(
            self,
            listener.loop,
            _READ_BUFFER,
            max_line_size=limits.request_line,
            max_field_size=limits.headers + (limits.headers == limits.request_line),  # told apart by its limit
            max_headers=4 * limits.header_count,  # ours comes first and says 431
            payload_exception=RequestBroken,
            auto_decompress=False,
            max_msg_queue_size=_MAX_PIPELINED,
        )
        super().__init__(listener.loop, parser)
        self.listener = listener
        self._queue: deque[tuple[RawRequestMessage, StreamReader]] = deque()
        self._fault: Reason | None = None  # what ends the connection once the queue is done
        self._why: Fault | None = None  # what is behind it
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request that was parsed
        self._clean = True  # the parser is between two messages, and that is certain
        self._rest = b""  # of the last head, all after its request line; empty: none can be repeated
        self._repeatable: RawRequestMessage | None = None  # what the parser made of it
        self._deaf = False  # an upgrade was asked for: what follows the request is not ours to parse
        self._trailing = False  # the body that comes may have trailers behind it
        self._tail = b""  # the last bytes of it
        self._ends: dict[StreamReader, bytes] = {}  # of bodies that may have trailers: the last bytes
        self._swallows = (
            False  # one was asked for that is ignored: the parser drops what follows the request in the same read
        )
        self._eof_at = 0.0
        self._full = False  # the parser holds back what follows a full queue
        self._incomplete: StreamReader | None = None  # the body, not yet whole, of a message that left the queue
        self._pumping = False
        self._emptied_by = 0.0  # when the rest of a body, whose request was answered, has to be there
        self.active_at = self._head_since = listener.monotonic()
        self._line = RequestLineWatch()
        self._held = (b"", 0)  # a read of which the parser holds back a part, and what its body had before
        self._head_bytes = 0  # of a head that is not whole yet
        self._head_end = b""  # the last three of them
        self._undelivered = 0
        self._moved_at = 0.0  # when that last changed
        self._linger_until = 0.0
        self.exchange: RequestInProgress | None = None
        self.tunnel: TunnelEnd | None = None
        self.spoke_early = False  # bytes came after a request to upgrade, before its answer
        self.memo = Memo()
        self.peer = ""
        self.introduced = ""  # the address of the client, where a proxy that only carries bytes has told it
        self.trusted = False
        self.scheme = "http"
        self.certificate = b""  # what the client showed, as `X-Forwarded-Client-Cert`

    def __repr__(self) -> str:
        waiting = "lingering" if self._linger_until else "emptying" if self._emptied_by else "idle"
        state = "closed" if self.transport is None else self.exchange or waiting
        return f"<ClientConnection {self.peer} {state} +{len(self._queue)}>"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the connection lives on."""
        return self._loop

    @property
    def draining(self) -> bool:
        """Whether the worker is going away, so that the connection should end with the current response."""
        return self.listener.draining

    def _keep_end(self, body: StreamReader, *, alone: bool) -> None:
        self._ends[body] = self._tail if alone else b""  # else nobody knows where in it the request ends
        self._trailing = False

    def end_of(self, body: StreamReader) -> bytes:
        """The last bytes of a request whose body is whole, as they came, as far as trailers may be among them. Once."""
        return self._ends.pop(body, b"")

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.listener.opened(self)
        self.active_at = self.listener.monotonic()
        self.peer = self.introduced or address_of(transport.get_extra_info("peername"))
        self.trusted = self.listener.trusts(self.peer)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.scheme = "https"
            self.certificate = forwarded_certificate(tls.getpeercert(binary_form=True))
        if self.listener.crowded:
            self._broken(Reason.OVERLOADED)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.listener.closed(self)
        self._queue.clear()
        self._break_body()
        if self.exchange is not None:
            self.exchange.client_left()

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            return self.tunnel.client_ended()
        # A client may half-close after its request and still wait for the answer (RFC 9112 section 9.6).
        if self._linger_until or (self.exchange is None and not self._queue and not self._full):
            return False
        if not self._body.is_eof():
            if self._queue and self._queue[-1][1] is self._body:
                self._queue.pop()  # its body will never come: it is not begun
            self._break_body()
        self._eof_at = self.listener.monotonic()
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is not None:
            self.exchange.client_resumed()
        else:
            self._pump()

    def data_received(self, data: bytes) -> None:
        if self._rest and data.endswith(self._rest) and self.exchange is None and not self._queue and not self._paused:
            message = self._repeated(data)
            if message is not None:
                now = self.active_at = self.listener.monotonic()
                self.exchange = self.listener.start_exchange(self, message, EMPTY_PAYLOAD, now)
                return
        if self.tunnel is not None:
            self.active_at = self.listener.monotonic()
            self.tunnel.from_client(data)
            return
        if self._linger_until or self._fault:
            return
        if self._deaf and self._body.is_eof():
            self.spoke_early = True
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        now = self.active_at = self.listener.monotonic()
        body = self._body
        in_head = body.is_eof()
        if in_head and not self._line.head(data):
            self._broken(Reason.MALFORMED_REQUEST)
            return
        # What the parser had held back is the end of a read that was seen before.
        read, before = (data, 0 if in_head else body.total_bytes) if data else self._held
        clean, self._clean = self._clean, False
        try:
            messages, _, _ = self._parser.feed_data(data)  # type: ignore[union-attr]  # set until connection_lost
        except Exception as exc:  # noqa: BLE001  aiohttp raises ValueError too for what it cannot read
            self._why = _unreadable(data) if in_head else None
            self._broken(_reason_of(exc, self.listener.limits.request_line))
            return
        self._tail = (self._tail + data)[-self.listener.limits.headers :] if self._trailing else b""
        finished = self._finish_message()
        if finished and self._swallows and body.total_bytes - before != len(read):
            self._broken(Reason.MALFORMED_REQUEST)
            return
        if messages or finished:
            alone = (
                self._alone(read, messages) if not finished else not messages and self._ends_with(read, body, before)
            )
            if not self._line.ended(read, alone=alone):
                self._broken(Reason.MALFORMED_REQUEST)
                return
            self._swallows = False
            if self._trailing and finished:
                self._keep_end(body, alone=alone)
            if messages and messages[-1][0].upgrade and alone:
                messages = [self._without_upgrade(read, *messages[-1])]
        if messages:
            self._accept(messages, read, now, finished, clean=clean)
        elif finished:
            self._pump()
        elif in_head and data:
            self._head_bytes += len(data)
            self._head_end = (self._head_end + data)[-3:]
            self._head_since = self._head_since or now
            if self._head_bytes > self.listener.limits.headers + self.listener.limits.request_line:
                self._broken(Reason.HEADERS_TOO_LARGE)
        self._held = (read, before) if self._full or self._reading_paused else (b"", 0)

    def _finish_message(self) -> int:
        # The parser counts a message when it is whole, and only then can be told that it left the queue.
        if self._incomplete is None or not self._incomplete.is_eof():
            return 0
        self._incomplete = None
        self._emptied_by = 0.0
        self._parser.message_consumed()  # type: ignore[union-attr]  # set until connection_lost
        return 1

    def _without_upgrade(
        self, data: bytes, message: RawRequestMessage, payload: StreamReader
    ) -> tuple[RawRequestMessage, StreamReader]:
        """A request that came alone, as if it had not asked for an upgrade that is never done, such as to h2c: its connection
        goes on. Not when it cannot be told whether the parser has dropped something behind it."""
        joined = self._head_end + data
        if message.chunked or (payload is EMPTY_PAYLOAD and joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)):
            return message, payload
        asked = "".join("," + value for value in message.headers.getall("Upgrade", ()))
        if may_switch(asked.encode("latin-1", "replace")) or message.method == "CONNECT":
            return message, payload
        self._swallows = not payload.is_eof()
        return message._replace(upgrade=False), payload

    @staticmethod
    def _ends_with(data: bytes, body: StreamReader, before: int) -> bool:
        """Whether `data` ends where `body` does, which had so many bytes before: all of it, or the last of its chunks."""
        return body.total_bytes - before == len(data) or data.endswith(_HEAD_END)

    def _alone(self, data: bytes, messages: list[tuple[RawRequestMessage, StreamReader]]) -> bool:
        """Whether `data` holds nothing but one request, or the beginning of its body."""
        message, payload = messages[0]
        if len(messages) > 1 or not payload.is_eof():
            return len(messages) == 1
        if payload is EMPTY_PAYLOAD and data.endswith(_HEAD_END):
            return True
        joined = self._head_end + data
        length = declared_length(message)
        return joined.find(_HEAD_END) + len(_HEAD_END) + length == len(joined) if length else joined.endswith(_HEAD_END)

    def _note_end(self, data: bytes, message: RawRequestMessage, payload: StreamReader) -> None:
        """Find out whether `data`, which made one message, ends with it, and whether its head can be repeated."""
        length = declared_length(message)
        end = data.find(_HEAD_END) + len(_HEAD_END) + (length or 0)
        self._rest = b""
        self._clean = length is not None and payload.is_eof() and not message.upgrade and end == len(data)
        plain = payload is EMPTY_PAYLOAD and message.version == (1, 1) and not message.should_close
        if self._clean and plain and data[:1] not in (b"\r", b"\n"):  # llhttp passes over empty lines before a request
            self._rest = data[data.index(b"\r\n") :]
            self._repeatable = message

    def _repeated(self, data: bytes) -> RawRequestMessage | None:
        """The message when `data` is a plain request line with the rest of the head before."""
        size = len(data) - len(self._rest)
        match = _PLAIN_LINE.fullmatch(data, 0, size)
        last = self._repeatable
        if match is None or last is None or not self._clean or size > self.listener.limits.request_line:
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

    def _accept(
        self,
        messages: list[tuple[RawRequestMessage, StreamReader]],
        data: bytes,
        now: float,
        finished: int,
        *,
        clean: bool,
    ) -> None:
        limits = self.listener.limits
        last, body = messages[-1]
        joined = self._head_end + data
        # A head that came alone, in small reads, need not be measured.
        measured = not clean or len(messages) > 1 or self._head_bytes + len(data) > limits.headers
        if last.upgrade:
            # Only what ends with the head holds nothing more.
            self.spoke_early = joined.find(_HEAD_END) != len(joined) - len(_HEAD_END)
        if clean and len(messages) == 1:
            self._note_end(data, last, body)
        another = body is EMPTY_PAYLOAD and not joined.endswith(_HEAD_END)  # the next head has begun
        if last.chunked and "Trailer" in last.headers:
            self._trailing = True
            self._tail = joined[-limits.headers :]
            if body.is_eof():
                self._keep_end(body, alone=len(messages) == 1)
        self._head_bytes = int(another)
        self._head_since = now if another else 0.0
        self._head_end = b""
        # The parser goes no further than this until some were consumed; what is not whole yet does not count.
        full = len(self._queue) + len(messages) + finished - (not body.is_eof()) >= _MAX_PIPELINED
        for message, payload in messages:
            if payload is EMPTY_PAYLOAD and declared_length(message) != 0:
                self._broken(Reason.MALFORMED_REQUEST)  # aiohttp takes the largest length for none
                return
            if len(message.raw_headers) > limits.header_count or (
                measured and sum(len(n) + len(v) + 4 for n, v in message.raw_headers) > limits.headers
            ):
                self._broken(Reason.HEADERS_TOO_LARGE)
                return
            self._queue.append((message, payload))
            self._body = payload
            self._deaf = message.upgrade
        if full:
            self._full = True
            self._pause_reading_for_buffer()
        self._pump()

    # The order of exchanges.

    def _pump(self) -> None:
        """Start the next exchange when there is none, until one has to wait. A loop: exchanges may end at once."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._may_go_on():
                if self._queue:
                    message, payload = self._queue.popleft()
                    if payload.is_eof():
                        self._parser.message_consumed()  # type: ignore[union-attr]  # set until connection_lost
                    else:
                        self._incomplete = payload
                        if self._full:  # the rest of it was held back, too
                            self._full = False
                            self._resume_reading_for_buffer()
                    now = self.listener.monotonic()
                    self.exchange = self.listener.start_exchange(self, message, payload, now)
                elif self._fault is not None:
                    self._say_last(self._fault)
                elif self._full:
                    self._loop.call_soon(self._read_on)  # not at once: others wait for their turn
                    return
                elif self._eof_at and self.transport is not None:
                    self.transport.close()
                    return
                else:
                    return
        finally:
            self._pumping = False

    def _may_go_on(self) -> bool:
        # A client that does not read its answers gets no more of them.
        busy = self.exchange is not None or self._emptied_by or self._linger_until
        return not busy and not self._paused and self.transport is not None

    def _read_on(self) -> None:
        if self._full and not self._queue and self._may_go_on():
            self._full = False
            self._resume_reading_for_buffer()
            self.data_received(b"")  # what the parser held back

    def exchange_ended(self, exchange: RequestInProgress, now: float) -> None:
        """The response is written (or never will be): go on with the next request, or close."""
        self.listener.exchange_ended(exchange)
        self.active_at = now
        if self.transport is None or self.transport.is_closing():
            return
        self.exchange = None
        payload = exchange.payload
        if self._ends:
            self._ends.pop(payload, None)
        if not exchange.keep_alive:
            self._close()
        elif payload is EMPTY_PAYLOAD or payload.is_eof():
            if self._queue or self._full or self._fault is not None or self._eof_at:
                self._pump()
        elif payload is self._body:
            self._emptied_by = now + self.listener.timeouts.request_header  # it is dropped as it comes
        else:
            self._close()  # it will never come

    def start_tunnel(self, tunnel: TunnelEnd) -> None:
        """From here on, what the client sends is the tunnel's."""
        self.tunnel = tunnel
        self._rest = b""
        self._upgraded = True  # flow control leaves the parser alone
        self._queue.clear()

    # Writing and closing.

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end_writing(self) -> bool:
        """Say no more; whether the client's bytes can still come."""
        if self.transport is None or not self.transport.can_write_eof():
            self.close()
            return False
        self.transport.write_eof()
        return True

    def close(self) -> None:
        """Close once what was written is delivered."""
        if self.transport is not None:
            self.transport.close()

    def close_lingering(self) -> None:
        """Close so that the client gets our last bytes though it may still be sending."""
        self.tunnel = None
        self._close()

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection, so that a response which is not whole cannot be taken for one. `reset`: with a TCP reset,
        for a response that an orderly close would end properly."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if reset and sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

    @property
    def unfinished(self) -> bool:
        """Whether a response is due, or not yet delivered."""
        if self.transport is None:
            return False
        return self.exchange is not None or bool(self._queue) or self._full or self._unsent(self.transport) > 0

    def stays(self, now: float) -> bool:
        """The worker is going away: whether a request is being answered, or is or may be on its way. Else it closes.

        To close at the moment when a client sends its next request would lose that (RFC 9112 section 9.6). So a client that
        has just been heard, or has just come, has a second to ask again: then the answer says that the connection closes.
        """
        transport = self.transport
        if transport is None or self.unfinished:
            return transport is not None
        if self._linger_until or transport.is_closing():
            return False
        if not self._emptied_by and (self._head_bytes or now - self.active_at < _QUIET or _unread(transport)):
            return True
        self._close()
        return False

    def _unsent(self, transport: asyncio.Transport) -> int:
        """How many bytes the client has yet to take. TLS hides some of ours, but not what the kernel holds of them."""
        size = transport.get_write_buffer_size()
        if size or self._paused or self._linger_until or self.draining:
            size += _kernel_holds(transport, termios.TIOCOUTQ)
        return size

    def _close(self) -> None:
        transport = self.transport
        if transport is None:
            return
        self._queue.clear()
        self._rest = b""
        self._linger_until = self.listener.monotonic() + _LINGER
        self._break_body()
        self._resume_transport_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _broken(self, reason: Reason) -> None:
        """Nothing after this point of the stream can be understood."""
        self._fault = reason
        self._rest = b""
        self._break_body()
        if self._emptied_by:
            self._close()  # the request that is broken was answered
        else:
            self._pump()

    def _break_body(self) -> None:
        body, self._body = self._body, EMPTY_PAYLOAD
        if not body.is_eof():
            body.set_exception(RequestBroken())

    def _say_last(self, reason: Reason) -> None:
        why = self._why if self._why is not None and self._why.reason is reason else None
        reply = self.listener.worded(
            refusal(reason, why and f"{why.cause.sentence[:1].upper()}{why.cause.sentence[1:]}.")
        )
        self.listener.report_unparsed(self, reason, why)
        self.write(encode_reply(reply, head_only=False, connection=b"Connection: close\r\n"))
        self._close()

    # Called about once a second.

    def check(self, now: float) -> None:
        """Close the connection of a client that is too slow."""
        transport = self.transport
        if transport is None:
            return
        if self.tunnel is not None:
            self.tunnel.check(now)
            return
        unsent = self._unsent(transport)
        if unsent != self._undelivered:
            self._undelivered, self._moved_at = unsent, now
        if unsent:
            if now - self._moved_at > self.listener.timeouts.idle:
                self.abort(reset=True)
            elif self._linger_until:
                self._linger_until = now + _LINGER
        elif self._linger_until:
            if now > self._linger_until:
                transport.abort()
        elif self.exchange is not None:
            self._check_exchange(self.exchange, now)
        elif self._emptied_by:
            if now > self._emptied_by:
                self._close()
        else:
            self._check_waiting(transport, now)

    def _check_exchange(self, exchange: RequestInProgress, now: float) -> None:
        if self._eof_at and not exchange.answer_begun and now - max(self._eof_at, exchange.started) > _HALF_CLOSED:
            self.abort()
        elif (
            not self._body.is_eof() and not self._reading_paused and now - self.active_at > self.listener.timeouts.idle
        ):
            self._stalled(exchange)

    def _check_waiting(self, transport: asyncio.Transport, now: float) -> None:
        timeouts = self.listener.timeouts
        if self._head_since:
            if now - self._head_since <= timeouts.request_header:
                return
            if self._head_bytes:
                self._broken(Reason.REQUEST_TIMEOUT)
            else:
                transport.close()  # connected and said nothing
        elif now - self.active_at > timeouts.idle:
            transport.close()

    def _stalled(self, exchange: RequestInProgress) -> None:
        if not exchange.answer_begun:
            self._fault = Reason.REQUEST_TIMEOUT
            exchange.give_up(Reason.REQUEST_TIMEOUT)


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


def address_of(peer: object) -> str:
    """Of the name of a socket's peer: its IP address, or `unix`. Behind [::] an IPv4 client has an address of IPv6 (RFC 4291
    section 2.5.5.2), under which nobody knows it."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "unix"


def _unread(transport: asyncio.Transport) -> int:
    """How many bytes of the client wait in the kernel."""
    return _kernel_holds(transport, termios.FIONREAD)


def _kernel_holds(transport: asyncio.Transport, which: int) -> int:
    """How many bytes of a connection the peer has not acknowledged, or we have not read; 0 where the system does not tell."""
    sock = transport.get_extra_info("socket")
    try:
        answer = fcntl.ioctl(sock.fileno(), which, _INT) if sock is not None else _INT
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)
