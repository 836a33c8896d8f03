"""The parts that outlive a change of the configuration."""

import secrets
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from sidecar.core.events import EventHandler
from sidecar.core.ports import Store, StoreUnavailable
from sidecar.core.revocations import RevocationView
from sidecar.oauth.clients.throttle import Memory
from sidecar.oauth.slow_hashes import SlowHashes
from sidecar.proxy.token_cache import Lookups


class Living(NamedTuple):
    """`clock` gives epoch seconds, `monotonic` monotonic seconds. `failures` has the failed attempts of clients and users, so
    that a change of the configuration does not clear them."""

    store: Store
    view: RevocationView
    emit: EventHandler
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    client_secrets: SlowHashes
    passwords: SlowHashes
    failures: Mapping[Literal["client", "user"], Memory]
    lookups: Lookups

    def ended(self, client_id: str, username: str, since: float) -> bool:
        """Whether a session or consent that a user began at `since` (epoch seconds) has been revoked. `client_id` is empty for
        a session. Raises `StoreUnavailable` while the revocation view is stale."""
        if not self.view.usable(self.monotonic()):
            raise StoreUnavailable("the revocation view is stale")
        return self.view.issued_too_early(client_id, username, int(since))

    def close(self) -> None:
        """End the threads."""
        self.client_secrets.close()
        self.passwords.close()


def living(
    store: Store,
    view: RevocationView,
    *,
    emit: EventHandler,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Living:
    """The parts of a worker that has just started."""
    return Living(
        store,
        view,
        emit,
        clock,
        monotonic,
        SlowHashes("client-secrets"),
        SlowHashes("passwords"),
        {"client": Memory(), "user": Memory()},
        Lookups(),
    )


def new_id() -> str:
    """An unguessable id: 128 random bits in base64url."""
    return secrets.token_urlsafe(16)


def new_secret() -> str:
    """256 random bits in base64url."""
    return secrets.token_urlsafe(32)
