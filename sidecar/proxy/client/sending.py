"""The writing and closing half of a client connection, and the kernel's buffers for it."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Final

from sidecar.proxy.client.reader import FlowControl
from sidecar.proxy.client.tls_buffers import carrier, give_back

_AT_ONCE: Final = 64 * 1024  # bytes that are encrypted at a time
_UNSENT: Final = 64 * 1024  # bytes that wait for the client before the sidecar produces no more
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_INT: Final = bytes(4)


class SendingSide(FlowControl):
    """Writes to the client while its connection is open."""

    __slots__ = ("_beneath", "_largest")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._beneath: asyncio.WriteTransport | None = None  # over TLS: carries the records
        self._largest = 0  # bytes that were read or encrypted at a time, over TLS

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""
        return self._loop

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""
        if self.transport is not None and not self.transport.is_closing():
            if len(data) > _AT_ONCE and self._beneath is not None:
                self._write_in_parts(self.transport, data)
            else:
                self.transport.write(data)

    def _write_in_parts(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Over TLS: OpenSSL keeps a buffer of the size of the largest write for as long as the connection lives."""
        self._largest = max(self._largest, _AT_ONCE)
        view = memoryview(data)
        for start in range(0, len(data), _AT_ONCE):
            transport.write(view[start : start + _AT_ONCE])

    def _note_tls(self, transport: asyncio.WriteTransport) -> None:
        """The connection is over TLS. By default uvloop would keep eight times as much for a client that does not read."""
        transport.set_write_buffer_limits(high=_UNSENT)
        self._beneath = carrier(transport) or transport
        give_back(transport)

    def waiting(self, transport: asyncio.WriteTransport) -> int:
        """The number of bytes in this process that the kernel has yet to take."""
        size = transport.get_write_buffer_size()
        if self._beneath is None or self._beneath is transport:
            return size
        return size + self._beneath.get_write_buffer_size()

    def end_writing(self) -> bool:
        """Close the sending side. Returns whether the client can still send."""
        if self.transport is None or not self.transport.can_write_eof():
            self.close()
            return False
        self.transport.write_eof()
        return True

    def close(self) -> None:
        """Close after everything written has been delivered."""
        if self.transport is not None:
            self.transport.close()

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection, so that an incomplete response cannot be taken for a complete one. `reset`: use a TCP reset,
        for a response that an orderly close would complete."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if reset and sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

    def unsent(self, transport: asyncio.Transport, *, exactly: bool) -> int:
        """The number of bytes that the client has yet to take; `exactly`: ask the kernel even if nothing is buffered here."""
        size = self.waiting(transport)
        if size or self._paused or exactly:
            size += _kernel_holds(transport, termios.TIOCOUTQ)
        return size


def address_of(peer: object) -> str:
    """The IP address in a socket's peer name, or `unix`. On a [::] listener an IPv4 client has an IPv4-mapped IPv6 address
    (RFC 4291 section 2.5.5.2); its familiar IPv4 form is returned."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "unix"


def unread(transport: asyncio.Transport) -> int:
    """The number of bytes from the client that wait in the kernel."""
    return _kernel_holds(transport, termios.FIONREAD)


def _kernel_holds(transport: asyncio.Transport, which: int) -> int:
    """The number of bytes that the peer has not acknowledged, or that the sidecar has not read; 0 where the system does not
    tell."""
    sock = transport.get_extra_info("socket")
    try:
        answer = fcntl.ioctl(sock.fileno(), which, _INT) if sock is not None else _INT
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)
