"""What the rules need from the outside world, as protocols that `stores` fulfils and `app` wires."""

from typing import Protocol

from sidecar.core.revocations import RevocationView


class StoreUnavailable(Exception):
    """The store could not answer in time, or at all. Its text names the fault and never a credential."""


class RevocationStore(Protocol):
    """Where revocations live. Both implementations pass `tests/contract/test_stores.py`."""

    async def revoke(self, jti: str, exp: int) -> None:
        """Write that the token `jti`, which ends at `exp` (epoch seconds), is revoked. Idempotent.

        When it returns, the write is in the store, and the view that `follow` feeds in this process has it.
        Raises `StoreUnavailable`: nothing may be assumed about the write then.
        """

    async def follow(self, view: RevocationView) -> None:
        """Load every live revocation into `view`, then keep it current; runs until cancelled.

        Calls `view.confirm(t)` whenever it is shown that the view held all that the store held at the monotonic time
        `t`. Never raises for a store that is down: it keeps trying, and the view grows stale meanwhile.
        """

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers in time."""

    async def close(self) -> None:
        """Give back connections. Idempotent."""
