"""Listening sockets: how one begins, and how it ends so that nobody is lost who had reached it.

A connection is made by the kernel, which keeps it in the socket's queue until somebody accepts it; when the socket ends, what
is in the queue is reset. So its owner ends it in this order, for every process that has a descriptor of it, also for one that
hangs:

1. It waits for a moment when the queue is empty.
2. No connection begins any more: the kernel drops each SYN. If one has begun since that moment, it is accepted first.
3. The socket stops to listen. Who connects is refused from then on, or finds whoever listens there next.

The second step takes some microseconds, or milliseconds: a client whose SYN is dropped repeats it after a second, so that a
longer one would hold up every balancer. What stays is a handshake across a network that is under way at that moment.
"""

import asyncio
import contextlib
import ctypes
import errno
import logging
import select
import socket
import struct
import sys
import time
from typing import Final

from sidecar.config.settings import Address

log: Final = logging.getLogger("sidecar")

_BACKLOG: Final = 4096
_CLAIMED_WITHIN: Final = 10.0  # seconds; a worker whose parent was killed has left by then, unless it hangs
_CLAIMED_EVERY: Final = 0.1
_ACCEPTED_WITHIN: Final = 1.0  # seconds for what is in the queue
_LOOK_EVERY: Final = 0.001
_SO_ATTACH_FILTER: Final = 26  # Linux; Python has no name for it
# Classic BPF over the TCP header: 0 bytes of a segment with SYN and without ACK, all of any other.
_NO_SYN: Final = b"".join(
    struct.pack("HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # of which SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone: go on, else pass over one
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)


class StartError(Exception):
    """The process cannot start; the text says why and what to change."""


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `StartError` that names the address."""
    try:
        return _bind(address)
    except OSError as exc:
        raise _cannot(address, exc) from None


def claim(address: Address) -> socket.socket:
    """`bind`, at a start that may come a little early: who has the address gets some seconds to leave it."""
    deadline = time.monotonic() + _CLAIMED_WITHIN
    waited = False
    while True:
        try:
            return _bind(address)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise _cannot(address, exc) from None
        if not waited:
            waited = True
            log.warning("address_in_use", extra={"address": str(address), "tried_for": _CLAIMED_WITHIN})
        time.sleep(_CLAIMED_EVERY)


def _cannot(address: Address, exc: OSError) -> StartError:
    return StartError(f"cannot listen on {address}: {exc.strerror or exc}")


def _bind(address: Address) -> socket.socket:
    infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = infos[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)  # noqa: FBT003  the signature of the standard library
    return sock


async def stop_listening(sock: socket.socket) -> None:
    """End a listening socket that others still accept from, in every process. It stays open; and it goes on to listen when
    nobody takes what is in its queue."""
    deadline = time.monotonic() + _ACCEPTED_WITHIN
    await _accepted(sock, deadline)
    _begin_nothing(sock)
    await _accepted(sock, deadline)
    if not _waiting(sock):
        with contextlib.suppress(OSError):  # no Linux: it ends when the last process has closed it
            sock.shutdown(socket.SHUT_RD)


async def _accepted(sock: socket.socket, deadline: float) -> None:
    while _waiting(sock) and time.monotonic() < deadline:  # noqa: ASYNC110  others accept, in their processes
        await asyncio.sleep(_LOOK_EVERY)


def _begin_nothing(sock: socket.socket) -> None:
    """Let no connection begin any more, where the system can do that."""
    program = ctypes.create_string_buffer(_NO_SYN)
    steps = len(_NO_SYN) // struct.calcsize("HBBI")
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", steps, ctypes.addressof(program)))


def _waiting(sock: socket.socket) -> bool:
    """Whether a connection is in the queue."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))


def url_of(sock: socket.socket, host: str | None = None, *, secure: bool = False) -> str:
    """Where a socket listens: at `host`, as the operator wrote it, or at its own address; and the port that it really has."""
    own, port = sock.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{Address(host or own, port)}"
