"""The half of a client connection that writes and closes, and what the kernel holds of it."""

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
    """Writes to the client as long as there is one."""

    __slots__ = ()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the connection lives on."""
        return self._loop

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

    def abort(self, *, reset: bool = False) -> None:
        """Cut the connection, so that a response which is not whole cannot be taken for one. `reset`: with a TCP reset,
        for a response that an orderly close would end properly."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if reset and sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

    def unsent(self, transport: asyncio.Transport, *, exactly: bool) -> int:
        """How many bytes the client has yet to take; `exactly`: the kernel is asked though nothing waits here. TLS hides some
        of ours, but not what the kernel holds of them."""
        size = transport.get_write_buffer_size()
        if size or self._paused or exactly:
            size += _kernel_holds(transport, termios.TIOCOUTQ)
        return size


def address_of(peer: object) -> str:
    """Of the name of a socket's peer: its IP address, or `unix`. Behind [::] an IPv4 client has an address of IPv6 (RFC 4291
    section 2.5.5.2), under which nobody knows it."""
    return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else "unix"


def unread(transport: asyncio.Transport) -> int:
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
