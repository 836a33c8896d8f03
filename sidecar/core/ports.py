"""What the rules need from the outside world, as protocols that `stores` fulfils and `assembly` wires."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sidecar.core.oauth.refresh_tokens import Ended, Family, FamilyAccess, FamilyState, Rotated, Rotation
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.throttling import Budget, Consumed


class StoreUnavailable(Exception):
    """The store could not answer in time, or at all. Its text names the fault and never a credential."""


class StoreCondition(NamedTuple):
    """How a store is doing: by how many seconds its clock is ahead of ours; how many entries could not be read, all in all; why
    it takes no writes although it can be read, or empty."""

    skew: float = 0.0
    unreadable: int = 0
    fault_of_writes: str = ""


class RevocationStore(Protocol):
    """Where revocations live."""

    async def revoke(self, jti: str, exp: int) -> None:
        """Write that the token `jti`, which ends at `exp` (epoch seconds), is revoked. Idempotent.

        When it returns, the write is in the store, and the view that `follow` feeds in this process has it.
        Raises `StoreUnavailable`: nothing may be assumed about the write then.
        """

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        """End everything that was issued up to a not-before time. The store remembers that until `until` (epoch seconds).
        Otherwise as `revoke`."""

    async def follow(self, view: RevocationView) -> None:
        """Load every live revocation into `view`, then keep it current; runs until cancelled.

        Calls `view.confirm(t)` whenever it is shown that the view held all that the store held at the monotonic time
        `t`. Never raises for a store that is down: it keeps trying, and the view grows stale meanwhile.
        """

    def condition(self) -> StoreCondition:
        """What is known of it, without asking."""

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers in time."""

    async def close(self) -> None:
        """Give back connections. Idempotent."""


class Store(RevocationStore, Protocol):
    """All that is to outlive a request. Both implementations pass `tests/contract`.

    Values that end by themselves, under keys `kind:identifier` such as `code:<sha256 hex>`: an identifier that is a
    secret is given as its digest. `seconds` (at least 1) is how long a value lives. All of it is one step that nobody
    can come between, also of another process; all of it raises `StoreUnavailable`, and nothing may be assumed about a
    write then.
    """

    async def add(self, key: str, seconds: int) -> bool:
        """True for the first caller within so many seconds, false for every other."""

    async def put(self, key: str, value: str, seconds: int) -> None:
        """Set or replace a value and its end."""

    async def get(self, key: str) -> str | None:
        """The value, unless it has ended or never was."""

    async def pop(self, key: str) -> str | None:
        """The value, for one caller only: it is gone then."""

    async def delete(self, key: str) -> None:
        """Forget the value. Idempotent."""

    # Families of refresh tokens: the rules are those of `core.oauth.refresh_tokens`. `key` is a family's, from `family_key`.

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        """Begin a family whose first token has the digest `current` (empty: it gives none), with its first access token.
        `idle` (seconds): it ends when it is not used for so long. The same again adds an access token to it, until a
        refresh token was used. False, and nothing is kept, when there is another such family or its end came first
        (`end_family`), or when what was granted at `family.issued` was ended. Of those that a client gave itself (`own`)
        the newest `MOST_UNUSED` are kept, and all that were used."""

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        """Use a refresh token. The access token of `rotation` counts as the family's from then on; when the family ends by
        it, its access tokens are revoked in the same step, as by `revoke`."""

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        """End a family and revoke its access tokens; idempotent. `client_id`: only when it is this client's. `forbid`
        (seconds): when there is none yet, none can be opened under this key for so long."""

    async def read_family(self, key: str) -> FamilyState | None:
        """A family as it is now, `live` left out."""

    # Throttling: the rules are those of `core.throttling`.

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        """Take one from each budget that has one, in one step; says of each what came of it."""
