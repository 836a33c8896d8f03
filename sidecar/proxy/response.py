"""A response that is forwarded to the client as it arrives: its bytes are collected, and written once per read."""

from collections.abc import Sequence

from sidecar.core.http.response_headers import ResponseHeaders


class StreamedResponse:
    """The bytes of one response that were collected and not yet written. `modern`: the client speaks HTTP/1.1, so it
    understands chunks and 1xx responses. `ends_by_close`: the end of the connection marks the end of the body."""

    __slots__ = ("_chunked", "_modern", "_out", "_trailers", "ends_by_close")

    def __init__(self, *, modern: bool) -> None:
        self._modern = modern
        self._out: list[bytes] = []
        self._chunked = False
        self._trailers: Sequence[bytes] = ()
        self.ends_by_close = False

    def __repr__(self) -> str:
        return f"<StreamedResponse {'chunked' if self._chunked else 'plain'} +{len(self._out)}>"

    def informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        """A 1xx response, which HTTP/1.0 does not have (RFC 9110 section 15.2)."""
        if self._modern:
            self._out += [b"HTTP/1.1 %d %b\r\n" % (status, reason), *headers.pieces, b"\r\n"]

    def frame(self, headers: ResponseHeaders, *, bodyless: bool) -> None:
        """Decide how the client finds the end of the body (RFC 9112 section 6.3)."""
        if headers.chunked or (headers.length is None and not bodyless):
            if self._modern:
                self._chunked = not bodyless
                headers.pieces.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self.ends_by_close = True

    def head(self, status: int, reason: bytes, headers: ResponseHeaders, connection: bytes) -> None:
        """The head; `connection` is the `Connection` line or empty."""
        out = self._out
        out.append(b"HTTP/1.1 %d %b\r\n" % (status, reason))
        out += headers.pieces
        if status == 426 and headers.upgrade:  # 426 requires an Upgrade field (RFC 9110 section 15.5.22)
            out.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % headers.upgrade)
        out += (connection, b"\r\n")

    def switch(self, reason: bytes, headers: ResponseHeaders) -> None:
        """The head of a 101 response."""
        self._out += [b"HTTP/1.1 101 %b\r\n" % reason, *headers.pieces, b"Connection: Upgrade\r\n"]
        self._out.append(b"Upgrade: %b\r\n\r\n" % headers.upgrade)

    def body(self, data: bytes) -> None:
        """Bytes of the body."""
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def trailers(self, pieces: Sequence[bytes]) -> None:
        """Fields after the body; they are forwarded if the client gets chunks."""
        self._trailers = pieces

    def end(self) -> None:
        """The body is complete."""
        if self._chunked:
            self._out += (b"0\r\n", *self._trailers, b"\r\n")

    def take(self) -> bytes:
        """The bytes to write now; each is returned once."""
        out, self._out = self._out, []
        return b"".join(out)
