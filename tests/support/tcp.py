"""What the kernel knows of a TCP connection on this machine: for tests in which it matters how many reads the other side makes.

Only for IPv4 and for two sockets on this machine, whose queues Linux shows in /proc/net/tcp.
"""

import array
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.waiting import wait_until

_CLOSED: Final = frozenset(["06", "07", "0B"])  # TIME_WAIT, CLOSE, CLOSING: no process reads any more

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_ANY_STATE: Final = 0xFFFFFFFF
_ANY_COOKIE: Final = b"\xff" * 8


class Queues(NamedTuple):
    """Bytes that one side's process has not read yet, and bytes that it wrote and the other kernel has not acknowledged."""

    unread: int
    unsent: int


def _address(local: tuple[str, int]) -> str:
    host, port = local[:2]
    return f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"


class Row(NamedTuple):
    """A socket of this machine as the kernel shows it: both ends in hexadecimal digits, and the number of its state."""

    local: str
    remote: str
    state: str
    queues: Queues

    @property
    def remote_port(self) -> int:
        return int(self.remote.partition(":")[2], 16)


def rows() -> Iterator[Row]:
    """Every TCP socket over IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        unsent, unread = (int(number, 16) for number in queues.split(":"))
        yield Row(local, remote, state, Queues(unread, unsent))


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """Under which inode a process has the socket with these two ends open; 0: none has accepted it. It asks the kernel for that
    one socket (sock_diag(7)), because /proc/net/tcp is slow to read when there are many."""
    ends = local[1], remote[1], socket.inet_aton(local[0]), socket.inet_aton(remote[0]), 0
    asked = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE)
    asked += struct.pack("!HH16s16sI", *ends) + _ANY_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(asked), _BY_FAMILY, 1, 0, 0) + asked)
        answer = netlink.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    return int(struct.unpack_from("=I", answer, 84)[0]) if kind == _BY_FAMILY else 0


def process_of(connection: socket.socket, candidates: Iterable[int]) -> int:
    """Which of the processes has the other side of the connection open; 0 for none of them."""
    inode = _inode(connection.getpeername(), connection.getsockname())
    for pid in candidates:
        with contextlib.suppress(OSError):  # it has just ended
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == f"socket:[{inode}]":
                        return pid
    return 0


def _queues(local: tuple[str, int], remote: tuple[str, int]) -> Queues | None:
    """Those of the socket with these two ends; `None` when no process has it open."""
    ends = _address(local), _address(remote)
    return next((row.queues for row in rows() if (row.local, row.remote) == ends and row.state not in _CLOSED), None)


def _both(connection: socket.socket) -> tuple[Queues, Queues] | None:
    """Ours and those of the other side; `None` when one of them has closed the connection, or it was cut."""
    try:
        here, there = connection.getsockname(), connection.getpeername()
    except OSError:  # after a reset it is not connected any more
        return None
    ours, theirs = _queues(here, there), _queues(there, here)
    return None if ours is None or theirs is None else (ours, theirs)


def queues_of_peer(connection: socket.socket) -> Queues | None:
    """Those of the other side; `None` when that has closed the connection, or has cut it."""
    both = _both(connection)
    return None if both is None else both[1]


def wait_until_read(connection: socket.socket, *, within: float = 10) -> None:
    """Wait until the other side's process has read all that was sent on `connection`, or has closed it. What is sent next makes
    a read of its own there."""

    def read() -> bool:
        both = _both(connection)
        return both is None or (both[0].unsent, both[1].unread) == (0, 0)

    wait_until(read, within=within)


def unread(connection: socket.socket) -> int:
    """How many bytes have come on `connection` that were not read yet."""
    size = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, size)
    return size[0]
