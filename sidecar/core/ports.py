"""What the rules need from the outside world, as protocols that `stores` implements and `assembly` wires."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sidecar.core.oauth.refresh_tokens import Ended, Family, FamilyAccess, FamilyState, Rotated, Rotation
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.throttling import Budget, Consumed


class StoreUnavailable(Exception):
    """The store did not answer in time, or at all. The message names the fault and never a credential."""


class StoreCondition(NamedTuple):
    """The condition of a store: by how many seconds its clock is ahead of the sidecar's; how many entries in total could not be
    read; why it refuses writes although it can be read, or empty; and why it cannot be reached, or empty."""

    skew: float = 0.0
    unreadable: int = 0
    fault_of_writes: str = ""
    fault: str = ""


class RevocationStore(Protocol):
    """The part of a store that keeps revocations."""

    async def revoke(self, jti: str, exp: int) -> None:
        """Record that the token `jti`, which expires at `exp` (epoch seconds), is revoked. Idempotent.

        When it returns, the write is in the store and in the view that `follow` feeds in this process.
        Raises `StoreUnavailable`: the caller must then assume nothing about the write.
        """

    async def set_not_before(self, not_before: NotBefore, until: int) -> None:
        """Revoke everything that was issued up to a not-before time. The store remembers it until `until` (epoch seconds).
        Otherwise as `revoke`."""

    async def follow(self, view: RevocationView) -> None:
        """Load every live revocation into `view`, then keep it current. Runs until cancelled.

        Calls `view.confirm(t)` whenever it has verified that the view contained everything that the store contained at the
        monotonic time `t`. Never raises when the store is down: it keeps trying, and the view becomes stale meanwhile.
        """

    def condition(self) -> StoreCondition:
        """The last known condition of the store, without a request to it."""

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers in time."""

    async def close(self) -> None:
        """Close the connections. Idempotent."""


class Store(RevocationStore, Protocol):
    """Everything that outlives a request. Both implementations pass `tests/contract`.

    Values expire. Their keys are `kind:identifier`, such as `code:<sha256 hex>`; a secret identifier is replaced by its digest.
    `seconds` (at least 1) is the lifetime of a value. Every operation is atomic, also across processes. Every operation raises
    `StoreUnavailable`; the caller must then assume nothing about a write.
    """

    async def add(self, key: str, seconds: int) -> bool:
        """True for the first caller with this key within `seconds`, false for every other."""

    async def put(self, key: str, value: str, seconds: int) -> None:
        """Set or replace a value and its lifetime."""

    async def get(self, key: str) -> str | None:
        """The value; `None` if it has expired or was never set."""

    async def pop(self, key: str) -> str | None:
        """Return and delete the value, so that only one caller gets it."""

    async def delete(self, key: str) -> None:
        """Delete the value. Idempotent."""

    # Families of refresh tokens, by the rules of `core.oauth.refresh_tokens`. `key` is the key of a family, from `family_key`.

    async def open_family(self, key: str, family: Family, current: str, access: FamilyAccess, idle: int) -> bool:
        """Create a family with its first access token. `current` is the digest of its first refresh token, or empty if it has
        none. The family ends when it is not used for `idle` seconds. The same call again adds an access token to it, until a
        refresh token has been used. Returns false, and stores nothing, when there is a different family under this key, when
        `end_family` was called before, or when a not-before time covers `family.issued`. Of the families that a client gave
        itself (`own`), the newest `MOST_UNUSED` unused ones are kept, and all that were used. A store of many parts keeps so
        many in each of them."""

    async def rotate(self, key: str, rotation: Rotation) -> Rotated:
        """Use a refresh token. The access token of `rotation` belongs to the family from then on. If the rotation ends the
        family, its access tokens are revoked in the same step, as by `revoke`."""

    async def end_family(self, key: str, client_id: str | None = None, *, forbid: int = 0) -> Ended:
        """End a family and revoke its access tokens. Idempotent. `client_id`: only if the family belongs to this client.
        `forbid`: if there is no family yet, none can be opened under this key for so many seconds."""

    async def read_family(self, key: str) -> FamilyState | None:
        """The current state of a family, without `live`; `None` if there is none."""

    # Throttling, by the rules of `core.throttling`.

    async def consume(self, budgets: Sequence[Budget]) -> list[Consumed]:
        """Take one from each budget that is not exhausted, each in one step. Returns a result for each budget."""
