"""Listening sockets: how to open one, and how to close one without losing a client that has connected.

The kernel establishes a connection and keeps it in the socket's queue until a process accepts it. When the socket is closed,
the kernel resets the connections in the queue. So the owner closes it in this order, which works for every process that has a
descriptor of the socket, even one that hangs:

1. It waits until the queue is empty.
2. It has the kernel drop each SYN, so that no new connection begins. If one has begun since step 1, it is accepted first.
3. The socket stops listening. From then on a client that connects is refused, or reaches the process that listens there next.

The second step takes microseconds to milliseconds: a client whose SYN is dropped repeats it after a second, so a longer step
would delay every balancer. One loss remains: a handshake across a network that is in progress at that moment.
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
_CLAIMED_WITHIN: Final = 10.0  # seconds; a worker whose parent was killed has ended by then, unless it hangs
_CLAIMED_EVERY: Final = 0.1
_ACCEPTED_WITHIN: Final = 1.0  # seconds to accept the connections in the queue
_LOOK_EVERY: Final = 0.001
_SO_ATTACH_FILTER: Final = 26  # Linux; Python has no name for it
# Classic BPF over the TCP header: 0 bytes of a segment with SYN and without ACK, all of any other.
_NO_SYN: Final = b"".join(
    struct.pack("HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone: continue, else skip one step
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)


class StartError(Exception):
    """The process cannot start. The text says why, and what to change."""


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `StartError`, which names the address."""
    try:
        return _bind(address)
    except OSError as exc:
        raise _cannot(address, exc) from None


def claim(address: Address) -> socket.socket:
    """Like `bind`, but waits some seconds for another process to release the address: it may be about to end. Raises
    `StartError`."""
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
    """Stop a socket from listening, in every process, while processes still accept from it. The socket stays open. It continues
    to listen when no process accepts the connections in its queue."""
    deadline = time.monotonic() + _ACCEPTED_WITHIN
    await _accepted(sock, deadline)
    _begin_nothing(sock)
    await _accepted(sock, deadline)
    if not _waiting(sock):
        with contextlib.suppress(OSError):  # not Linux: the socket ends when the last process has closed it
            sock.shutdown(socket.SHUT_RD)


async def _accepted(sock: socket.socket, deadline: float) -> None:
    while _waiting(sock) and time.monotonic() < deadline:  # noqa: ASYNC110  other processes accept
        await asyncio.sleep(_LOOK_EVERY)


def _begin_nothing(sock: socket.socket) -> None:
    """Have the kernel drop each SYN, where the system can do that."""
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
    """The URL of a listening socket, with its actual port; `host` is its address as the operator wrote it."""
    own, port = sock.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{Address(host or own, port)}"
