"""What the kernel knows of a TCP connection on this machine: for tests in which it matters how many reads the other side makes.

Only for IPv4 and for two sockets on this machine, whose queues Linux shows in /proc/net/tcp.
"""

import array
import fcntl
import socket
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.waiting import wait_until

_CLOSED: Final = frozenset(["06", "07", "0B"])  # TIME_WAIT, CLOSE, CLOSING: no process reads any more


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
