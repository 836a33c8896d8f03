"""Listening sockets: how to open one, and how to close one without losing a client that has connected.

The kernel establishes a connection and keeps it in the socket's queue until a process accepts it. When the socket is closed,
the kernel resets the connections in the queue. So the owner closes it in this order, which works for every process that has a
descriptor of the socket, even one that hangs:

1. It waits until the queue is empty.
2. It has the kernel drop each SYN, so that no new connection begins. If one has begun since step 1, it is accepted first.
3. The socket stops listening. From then on a client that connects is refused, or reaches the process that listens there next.

A process that is about to end lets its successor bind the same address (`Listener.hand_over`). The successor listens once it
can serve. From that moment the kernel gives every new connection to it, so no client is refused in between.

The second step takes microseconds to milliseconds: a client whose SYN is dropped repeats it after a second, so a longer step
would delay every balancer. One loss remains: a handshake across a network that is in progress at that moment.
"""

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from sidecar.config.settings import Address

log: Final = logging.getLogger("sidecar")

_BACKLOG: Final = 4096
_CLAIMED_WITHIN: Final = 10.0  # seconds; a worker whose parent was killed has ended by then, unless it hangs
_CLAIMED_EVERY: Final = 0.1
_ACCEPTED_WITHIN: Final = 1.0  # seconds to accept the connections in the queue
_LOOK_EVERY: Final = 0.001
# Linux; Python has no names for these options.
_SO_ATTACH_FILTER: Final = 26
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
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

# Of the sockets that share an address, a new connection goes to the second one. When there is one left, it goes to that one.
_THE_SECOND: Final = struct.pack("HBBI", 0x06, 0, 0, 1)
_NAMES: Final = ("public", "admin")  # in `LISTEN_FDNAMES`
_FIRST_INHERITED: Final = 3


class StartError(Exception):
    """The process cannot start. The text says why, and what to change."""


@dataclass
class Listener:
    """A bound socket, and what this process may do with it.

    `lent`: the process was given the socket (`LISTEN_FDS`), so it never ends it. `joined`: another process, which is about to
    end, still listens at the address. `guard` keeps other processes away from the address; a worker has none.
    """

    sock: socket.socket
    lent: bool = False
    joined: bool = False
    guard: socket.socket | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For a worker's process."""
        return {"sock": self.sock, "lent": self.lent, "joined": self.joined, "guard": None}

    def open(self) -> None:
        """Listen from now on. All new connections come to this socket, and none to the process that is about to end. A second
        call, also by another process, changes nothing."""
        self.sock.listen(_BACKLOG)
        if self.joined:
            self.joined = False
            _attach(self.sock, _SO_ATTACH_REUSEPORT_CBPF, _THE_SECOND)

    def hand_over(self) -> None:
        """Let the next process listen at this address as well. A second call changes nothing."""
        guard, self.guard = self.guard, None
        if guard is not None:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            guard.close()

    async def stop(self) -> None:
        """Stop listening, without losing a client that has connected. A socket that was lent stays as it is."""
        self.hand_over()
        if not self.lent:
            await stop_listening(self.sock)

    def end_at_once(self) -> None:
        """Stop listening, whatever waits. For a process whose event loop hangs."""
        if not self.lent:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close the descriptors of this process."""
        self.hand_over()
        self.sock.close()


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `StartError`, which names the address."""
    try:
        sock = _bind(address)
    except OSError as exc:
        raise _cannot(address, exc) from None
    sock.listen(_BACKLOG)
    return sock


def binding_fault(address: Address) -> OSError | None:
    """Why no socket can be bound to an address, or `None` when one can. Nothing listens there in between."""
    try:
        _bind(address).close()
    except OSError as exc:
        return exc
    return None


def claim(address: Address, *, name: str, number: int) -> Listener:
    """The listener of an address, which does not listen yet. Waits some seconds for another process to release the address,
    because it may be about to end. `name` and `number` identify a socket that the service manager may have given to this
    process (`inherited`). Raises `StartError`."""
    given = inherited(name, number)
    if given is not None:
        return Listener(given, lent=True)
    deadline = time.monotonic() + _CLAIMED_WITHIN
    waited = False
    while True:
        try:
            return _claim(address)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise _cannot(address, exc) from None
        if not waited:
            waited = True
            log.warning("address_in_use", extra={"address": str(address), "tried_for": _CLAIMED_WITHIN})
        time.sleep(_CLAIMED_EVERY)


def _claim(address: Address) -> Listener:
    """Raises `OSError`, with `EADDRINUSE` while another process needs the address.

    A process that is about to end allows the next one to bind the same address (`SO_REUSEPORT`). The system would allow that
    to a third one as well. So each process holds the address by a name that only one process can have, until it is about to
    end.
    """
    guard = _guard(address) if address.port else None
    try:
        try:
            return Listener(_bind(address), guard=guard)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or guard is None:
                raise
        return Listener(_bind(address, shared=True), joined=True, guard=guard)
    except BaseException:
        if guard is not None:
            guard.close()
        raise


def _guard(address: Address) -> socket.socket | None:
    """A socket whose name stands for the address. `None` where the system has no such names. Raises `OSError`."""
    if sys.platform != "linux":
        return None
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        guard.bind(f"\0auth-sidecar {address}")
    except BaseException:
        guard.close()
        raise
    return guard


def inherited(name: str, number: int) -> socket.socket | None:
    """The listening socket that the service manager has opened for this process, or `None` when it has opened none (systemd's
    `sd_listen_fds`). It is the one with this name (`LISTEN_FDNAMES`), or without such names the one with this number,
    from 0. Raises `StartError` when it is not a listening TCP socket."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if name in names:
        number = names.index(name)
    elif set(names) & set(_NAMES):
        return None  # only others were opened
    if not count.isdigit() or number >= int(count):
        return None
    descriptor = _FIRST_INHERITED + number
    try:
        sock = socket.socket(fileno=descriptor)
        good = sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6)
        good = good and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        good = False
    if not good:
        raise StartError(f"LISTEN_FDS: descriptor {descriptor} is not a listening TCP socket for {name}")
    sock.setblocking(False)  # noqa: FBT003  the signature of the standard library
    os.set_inheritable(descriptor, False)  # noqa: FBT003  likewise
    return sock


def _cannot(address: Address, exc: OSError) -> StartError:
    return StartError(f"cannot listen on {address}: {exc.strerror or exc}")


def _bind(address: Address, *, shared: bool = False) -> socket.socket:
    infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = infos[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
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
    _attach(sock, _SO_ATTACH_FILTER, _NO_SYN)


def _attach(sock: socket.socket, option: int, program: bytes) -> None:
    """Attach a BPF program to a socket, where the system can do that."""
    steps = len(program) // struct.calcsize("HBBI")
    code = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", steps, ctypes.addressof(code)))


def _waiting(sock: socket.socket) -> bool:
    """Whether a connection is in the queue."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))


def url_of(sock: socket.socket, *, secure: bool = False) -> str:
    """The URL of a listening socket, with the address and port that were bound."""
    return f"{'https' if secure else 'http'}://{Address(*sock.getsockname()[:2])}"
