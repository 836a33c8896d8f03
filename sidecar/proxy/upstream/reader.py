"""Reads responses without a socket: bytes in, calls of a `ResponseSink` and a verdict out. httptools does the parsing.

Rules:
- The verdict on a read is given only after the whole read was parsed. So a malformed tail turns the response into a 502 while
  that is still possible, and aborts it otherwise; it never ends cleanly.
- A connection is kept only when its response ended exactly where its framing said. A response without a body (to HEAD, or a
  304) that announces one ends its connection, since some servers send that body.
"""

import re
from enum import Enum
from typing import Final

import httptools

from sidecar.core.causes import Cause, Fault
from sidecar.core.http.response_headers import InvalidResponse, ResponseHeaders, read_response_headers, trailer_pieces
from sidecar.proxy.ports import ResponseSink
from sidecar.proxy.upstream.faults import unreadable
from sidecar.proxy.wire import date_line

MAX_HEAD: Final = 256 * 1024  # no HTTP server sends a response head or trailers larger than this
_BODYLESS: Final = (204, 304)
_NO_UPGRADE: Final = "without Connection: upgrade, or without Upgrade"
_LINE_END: Final = re.compile(rb"[ \t]+\r\n")
_PHRASE: Final = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9112 section 4


class Progress(Enum):
    """The progress of a response after a read."""

    MORE = "more"  # the response is incomplete
    WHOLE = "whole"
    SWITCHED = "switched"  # a 101 that the client may get
    BROKEN = "broken"  # the response must not be forwarded: see `fault`


def without_tabs(data: bytes) -> bytes:
    """A read that begins with a head; if the head contains a tab, without the white space at the ends of its lines. llhttp
    recognises `chunked` with a trailing space, but not with a trailing tab."""
    end = data.find(b"\r\n\r\n") + 2
    if data.find(b"\t", 0, end) < 0:
        return data
    return _LINE_END.sub(b"\r\n", data[:end]) + data[end:]


class ResponseReader:
    """Reads the responses of one connection, one after the other. `begin` must be called before the first read of each.

    Once `final`, the head of the final response was passed on: `keep_alive` says whether the connection may carry another
    exchange, `keep_alive_field` is the value of `Keep-Alive`, `until_eof` says whether the body ends with the connection.
    After `SWITCHED`, `switch` has the reason phrase and the fields of the 101, and `rest` the bytes that followed it.
    """

    __slots__ = (
        "_head_bytes",
        "_headers",
        "_parser",
        "_reads",
        "_reason",
        "_sink",
        "_trailers",
        "complete",
        "fault",
        "final",
        "keep_alive",
        "keep_alive_field",
        "rest",
        "switch",
        "until_eof",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._reset(None)

    def __repr__(self) -> str:
        return f"<ResponseReader {'body' if self.final else 'head'}>"

    def begin(self, sink: ResponseSink) -> None:
        """From now on, read the response to the request of `sink`."""
        self._reset(sink)

    def _reset(self, sink: ResponseSink | None) -> None:
        self._sink = sink
        self._reads = 0
        self._head_bytes = 0  # since the last byte of a body: heads, trailers, and chunk framing
        self._trailers: list[tuple[bytes, bytes]] = []
        self.final = self.complete = self.keep_alive = self.until_eof = False
        self.keep_alive_field = self.rest = b""
        self.fault: Fault | None = None
        self.switch: tuple[bytes, ResponseHeaders] | None = None  # a valid 101 that was read

    def reset(self) -> None:
        """The response is no longer wanted: pass on nothing more."""
        self._sink = None

    @property
    def bad_switch(self) -> bool:
        """Whether the response was a 101 that the request had asked for. It may be unusable because the client sent bytes too
        early, which is not the upstream's fault."""
        return self._parser.get_status_code() == 101 and self._sink is not None and bool(self._sink.upgrade)

    @property
    def in_one_read(self) -> bool:
        """Whether everything received of the response came in one read."""
        return self._reads == 1

    def feed(self, data: bytes) -> Progress:
        """Parse a read. Its content is passed on during parsing."""
        self._reads += 1
        first = self._reads == 1
        if first:
            data = without_tabs(data)
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if self._may_switch():
                self.rest = data[exc.args[0] :]
                return Progress.SWITCHED
            self._refuse_switch()
        except httptools.HttpParserError as exc:
            self.fault = self.fault or unreadable(data if first else b"", str(exc))
        if self.fault or self.switch is not None or self._head_bytes > MAX_HEAD:
            self._break()
            return Progress.BROKEN
        return Progress.WHOLE if self.complete else Progress.MORE

    def _may_switch(self) -> bool:
        return self.switch is not None and self._sink is not None and self._sink.awaits_switch and not self.fault

    def _refuse_switch(self) -> None:
        if not self.fault and self._sink is not None:
            self.fault = _bad_switch(self._sink)

    def _break(self) -> None:
        if self.fault is None:
            without = self.switch is not None
            self.fault = Fault(Cause.BAD_SWITCH, _NO_UPGRADE) if without else Fault(Cause.HEAD_TOO_LARGE)

    # Called by httptools during parsing. An exception here would lose its type, so `fault` is set instead.

    def on_message_begin(self) -> None:
        self._headers = []
        self._reason = b""
        if self.complete:
            self.fault = Fault(Cause.BYTES_AFTER_ANSWER)

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.final:
            self._trailers.append((name, value))  # a field after the body
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        sink = self._sink
        if sink is None or self.complete or self.fault:
            return
        status = self._parser.get_status_code()
        try:
            headers = read_response_headers(self._headers)
        except InvalidResponse as exc:
            self.fault = Fault(Cause.BAD_FRAMING, str(exc))
            return
        if self._misframed(status, headers):
            self.fault = Fault(Cause.BAD_FRAMING, "a body where none may be, or chunks over HTTP/1.0")
        elif not _PHRASE.fullmatch(self._reason):
            self.fault = Fault(Cause.NOT_HTTP, "a control character in the reason phrase")
        elif status < 200:
            self._informational(sink, status, headers)
        else:
            self._finally(sink, status, headers)

    def _misframed(self, status: int, headers: ResponseHeaders) -> bool:
        """Whether there are framing fields where they are forbidden (RFC 9112 section 6.1, RFC 9110 section 8.6), so that two
        readers could disagree about what follows. A length of 0 states what holds anyway."""
        if headers.chunked and self._parser.get_http_version() == "1.0":
            return True
        return (status < 200 or status == 204) and (headers.chunked or bool(headers.length))

    def _informational(self, sink: ResponseSink, status: int, headers: ResponseHeaders) -> None:
        if headers.length is not None:  # it is 0, and still must not be forwarded
            headers = read_response_headers(pair for pair in self._headers if pair[0].lower() != b"content-length")
        if status == 101 and sink.awaits_switch and headers.upgrade:
            self.switch = (self._reason, headers)
        elif status == 101:
            self.fault = _bad_switch(sink)
        elif status < 100:
            self.fault = Fault(Cause.NOT_HTTP, "a status below 100")
        else:
            sink.on_informational(status, self._reason, headers)

    def _finally(self, sink: ResponseSink, status: int, headers: ResponseHeaders) -> None:
        """The head of the final response."""
        self.final = True
        bodyless = sink.head_request or status in _BODYLESS
        announced = headers.chunked or bool(headers.length)
        self.keep_alive = self._parser.should_keep_alive() and not (bodyless and announced)
        self.keep_alive_field = headers.keep_alive
        self.until_eof = not bodyless and headers.length is None and not headers.chunked
        if not headers.dated:
            headers.pieces.append(date_line())  # RFC 9110 section 6.6.1: a recipient with a clock adds it
        sink.on_head(status, self._reason, headers)
        if status >= 300 and not self.keep_alive:
            sink.stop_sending()
        if sink.head_request:
            self.complete = True

    def on_body(self, data: bytes) -> None:
        self._head_bytes = 0
        if self.complete:
            self.fault = Fault(Cause.BAD_FRAMING, "a body in the answer to HEAD")
        elif self._sink is not None and not self.fault:
            self._sink.on_body(data)

    def on_message_complete(self) -> None:
        if self.final:
            self.complete = True
            if self._trailers and self._sink is not None:
                self._sink.on_trailers(trailer_pieces(self._trailers))


def _bad_switch(sink: ResponseSink) -> Fault:
    """Why a 101 does not start a tunnel."""
    if not sink.upgrade:
        return Fault(Cause.BAD_SWITCH, "nobody had asked for it")
    early = not sink.awaits_switch
    return Fault(Cause.BAD_SWITCH, "the client had sent more than its request" if early else _NO_UPGRADE)
