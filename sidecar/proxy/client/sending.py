"""The writing and closing half of a client connection, and the kernel's buffers for it."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Final

from sidecar.proxy.client.reader import FlowControl

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_INT: Final = bytes(4)


class SendingSide(FlowControl):
    """Writes to the client while its connection is open."""

    __slots__ = ()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""
        return self._loop

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

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
        """The number of bytes that the client has yet to take; `exactly`: ask the kernel even if nothing is buffered here.
        Under TLS some bytes buffered in this process are invisible, but not those in the kernel."""
        size = transport.get_write_buffer_size()
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
