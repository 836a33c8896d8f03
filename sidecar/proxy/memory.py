"""How much memory a worker holds for its clients, and whose requests are refused when it is too much.

Rules:
- Each connection has a fixed price, and *holds* what has piled up on it besides: part of a head, requests that wait, part of a
  body, and what its client does not read of the responses. The budget knows the sum.
- Above the limit those who hold most are refused first, and of several who hold the same the newest. So a client that needs
  little, such as one whose head with a token arrives in two parts, is served beside a thousand that hold as much as they can.
- A connection that carries a request with a valid token, or its response, comes after all others.
- When there is too much, an eighth of the limit becomes free. So a crowd at the limit does not cost a search for each read.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Holder(Protocol):
    """A connection, as the budget sees it."""

    held: int  # bytes; set by the budget

    @property
    def admitted(self) -> bool:
        """Whether what it holds belongs to a request with a valid token."""

    def weigh(self) -> None:
        """Tell the budget what is held now."""


H = TypeVar("H", bound=Holder)


class MemoryBudget(Generic[H]):
    """The account of one worker. `limit` and `each`, the price of a connection, are in bytes; both may be replaced at any
    time. `connections` counts them, and `refuse` makes a holder release what it holds."""

    __slots__ = ("_connections", "_holders", "_refuse", "_relieving", "_sum", "each", "limit")

    def __init__(self, limit: int, each: int, *, connections: Callable[[], int], refuse: Callable[[H], None]) -> None:
        self.limit = limit
        self.each = each
        self._connections = connections
        self._refuse = refuse
        self._sum = 0  # bytes, without the price of the connections
        self._holders: dict[H, None] = {}  # the newest last
        self._relieving = False

    def __repr__(self) -> str:
        return f"<MemoryBudget {self.held} of {self.limit} bytes, {len(self._holders)} holders>"

    @property
    def held(self) -> int:
        """The bytes that are held for the clients, with the price of their connections."""
        return self._sum + self._connections() * self.each

    def hold(self, holder: H, size: int) -> None:
        """From now on `holder` holds `size` bytes."""
        self._sum += size - holder.held
        holder.held = size
        if size:
            self._holders[holder] = None
        else:
            self._holders.pop(holder, None)

    def relieve(self) -> None:
        """When too much is held, have those refused who hold most."""
        if self._relieving or self.held <= self.limit:
            return
        self._relieving = True
        try:
            for holder in self._to_refuse():
                self._refuse(holder)
        finally:
            self._relieving = False

    def _to_refuse(self) -> Iterator[H]:
        for holder in [*self._holders]:
            holder.weigh()  # some hold less by now
        enough = self.limit - self.limit // 8
        newest_first = [*reversed(self._holders)]
        for holder in sorted(newest_first, key=_worst_first):
            held = self.held
            if held <= enough or (holder.admitted and held <= self.limit):
                return
            yield holder


def _worst_first(holder: Holder) -> tuple[bool, int]:
    return holder.admitted, -holder.held
