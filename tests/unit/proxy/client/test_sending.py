"""What a connection tells of the bytes that its client has yet to take, and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.proxy.client.sending import SendingSide, address_of, unread
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("peer", "address"),
    [(("192.0.2.1", 80), "192.0.2.1"), (("::ffff:192.0.2.1", 80, 0, 0), "192.0.2.1"), (("2001:db8::1", 1, 0, 0), "2001:db8::1"), ("", "unix")],
)  # fmt: skip
def test_the_address_of_a_peer(peer: object, address: str) -> None:
    assert address_of(peer) == address


@pytest.fixture
async def both() -> AsyncIterator[tuple[SendingSide, socket.socket]]:
    """A connection, and the client's end of it."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    _, side = await loop.create_connection(lambda: SendingSide(loop), sock=ours)
    yield side, theirs
    side.abort()
    theirs.close()


async def test_what_is_written_is_unsent_until_it_is_taken(both: tuple[SendingSide, socket.socket]) -> None:
    side, theirs = both
    transport: Any = side.transport
    assert side.unsent(transport, exactly=True) == 0
    side.write(b"x" * 5_000_000)
    assert side.writing_paused
    assert side.unsent(transport, exactly=False) > 0
    theirs.setblocking(False)
    taken = 0
    while taken < 5_000_000:
        try:
            taken += len(theirs.recv(1 << 20))
        except BlockingIOError:
            await asyncio.sleep(0)
    await eventually(lambda: side.unsent(transport, exactly=True) == 0)


async def test_what_came_and_was_not_read_is_known(both: tuple[SendingSide, socket.socket]) -> None:
    side, theirs = both
    transport: Any = side.transport
    transport.pause_reading()
    theirs.send(b"12345")
    assert unread(transport) == 5


async def test_nothing_is_written_after_the_end(both: tuple[SendingSide, socket.socket]) -> None:
    side, theirs = both
    assert side.end_writing()
    side.close()
    side.write(b"late")
    await eventually(lambda: side.transport is None)
    assert theirs.recv(10) == b""
    assert not side.end_writing()
