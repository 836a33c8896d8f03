"""What the feed of revocations needs from Redis."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Revocations = list[tuple[str, int]]


class Heartbeat(NamedTuple):
    """The answer to a heartbeat. `present`: the entry asked for is still in the stream; `newest`: the newest entry; `server`:
    which server answered, or empty; `skew`: by how many seconds its clock is ahead of this process's; `loss`: the name of the
    open loss, or empty; `counted`: entries were counted as missing; `quiet`: for how many seconds no process has restored
    anything; `age`: how old the answer may be, in seconds, if it is a replica's; `writable`: the server takes writes."""

    present: bool
    newest: bytes
    server: str = ""
    skew: float = 0.0
    loss: str = ""
    counted: bool = False
    quiet: float = 0.0
    age: float = 0.0
    writable: bool = True


class View(Protocol):
    """What the feed and the store need from a `core.revocations.RevocationView`; a partition has a part of one."""

    @property
    def not_before(self) -> Mapping[str, int]: ...

    def __contains__(self, jti: str) -> bool: ...
    def add(self, revocations: Iterable[tuple[str, int]]) -> None: ...
    def confirm(self, moment: float) -> None: ...
    def issued_too_early(self, client_id: str, subject: str, issued: int) -> bool: ...
    def purge(self, now: float, at_most: float) -> bool: ...
    def slices(self, now: float, size: int) -> Iterator[list[tuple[str, int]]]: ...


class Source(Protocol):
    """What the feed needs from Redis. Every method may raise `StoreUnavailable`. See `revocations.RedisRevocations`."""

    async def connect(self) -> None:
        """Check that the server can be reached and allows all commands that are needed."""

    async def heartbeat(self, last_read: bytes) -> Heartbeat:
        """Send a heartbeat; `last_read` is empty when nothing was read yet."""

    async def remember(self, revocations: Iterable[tuple[str, int]]) -> None:
        """Write revocations. When it raises, some may have been written."""

    async def missing(self, revocations: Revocations) -> Revocations:
        """The revocations that the server does not have, or keeps for a shorter time."""

    def all_revocations(self) -> AsyncGenerator[Revocations, None]:
        """All revocations, in pages. Includes every entry that is present throughout."""

    def history(self, until: bytes) -> AsyncIterator[Entries]:
        """The entries of the stream, up to and including `until`."""

    def entries(self, last_read: bytes) -> AsyncGenerator[Entries, None]:
        """The entries after `last_read`, as they arrive; ends only by raising."""

    async def sign(self) -> None:
        """Show waiting processes that revocations are being restored."""

    async def make_whole(self, loss: str, window: float) -> bool | None:
        """Report that everything missing after this loss was restored. Returns whether the loss is over: `None` if it is less
        than `window` seconds old, False if there was another loss."""

    async def take_turn(self, seconds: float) -> bool:
        """Start or continue this process's turn to restore, for `seconds`. Returns whether no other process has the turn."""

    async def end_turn(self) -> None:
        """Let another process take its turn to restore."""
