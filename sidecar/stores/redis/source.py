"""What the feed of revocations needs of Redis."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import NamedTuple, Protocol

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Revocations = list[tuple[str, int]]


class Heartbeat(NamedTuple):
    """The answer to a heartbeat: is the entry asked for still in the stream, and which entry is the newest; which server said
    so, or empty; how many seconds its clock is ahead of ours; the name of the loss that is open, or empty, whether entries
    were `counted` as missing, and for how many seconds nobody has given anything back; how old, in seconds, the answer may be,
    for a replica's; and whether the server takes writes."""

    present: bool
    newest: bytes
    server: str = ""
    skew: float = 0.0
    loss: str = ""
    counted: bool = False
    quiet: float = 0.0
    age: float = 0.0
    writable: bool = True


class Source(Protocol):
    """What the feed needs of Redis; all of it raises `StoreUnavailable`. See `revocations.RedisRevocations`."""

    async def connect(self) -> None:
        """See that the server can be reached, and that all can be done there that is needed."""

    async def heartbeat(self, last_read: bytes) -> Heartbeat:
        """Ask for continuity; `last_read` is empty when nothing was read yet."""

    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Write revocations. When it raises, some may have been written."""

    async def missing(self, revocations: Revocations) -> Revocations:
        """Those that the server does not know, or not for so long."""

    def all_revocations(self) -> AsyncIterator[Revocations]:
        """All revocations, some at a time: what is there throughout is given."""

    def history(self, until: bytes) -> AsyncIterator[Entries]:
        """The entries that are in the stream, up to that one."""

    def entries(self, last_read: bytes) -> AsyncGenerator[Entries, None]:
        """The entries after `last_read`, as they come; ends only by raising."""

    async def sign(self) -> None:
        """Show those who wait that something is being given back."""

    async def make_whole(self, loss: str, window: float) -> bool | None:
        """Say that what was missing after this loss was given back: whether it is over; `None` when it is not `window` seconds
        old yet. False: there was another."""

    async def take_turn(self, seconds: float) -> bool:
        """Begin, or go on, to give back, for so long; whether nobody else does."""

    async def end_turn(self) -> None:
        """Let somebody else give back."""
