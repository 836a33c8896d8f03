"""What the running sidecars would say of an access token now. `sidecar tokens inspect` uses it."""

import asyncio
import math
import time
from typing import Final

from sidecar.assembly.keys import admission_rules, token_rules
from sidecar.assembly.shared_store import opened_store
from sidecar.config.settings import Settings
from sidecar.core.admission import VerifiedToken, objection
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason
from sidecar.core.revocations import RevocationView

_LOADED_WITHIN: Final = 60.0  # seconds, as for a worker that starts


class _LoadingView(RevocationView):
    """A view that tells when it is complete for the first time. It never grows stale."""

    def __init__(self) -> None:
        super().__init__(math.inf)
        self.loaded = asyncio.Event()

    def confirm(self, moment: float) -> None:
        super().confirm(moment)
        self.loaded.set()


async def current_objection(settings: Settings, token: str, now: float) -> Reason | None:
    """Why the admission rule refuses a token, or `None` when it does not. `now` is in epoch seconds.

    The signature must be valid: raises `Refused` otherwise. The revocations come from the store that the settings name. A store
    in the memory of a process (`memory://`) cannot be asked: only the rest of the rule decides then. Raises `StoreUnavailable`.
    """
    rules = token_rules(settings.tokens)
    verified = VerifiedToken(rules.verify(token, now))
    view = _LoadingView()
    if settings.store.in_process:
        view.confirm(time.monotonic())
    else:
        await _load(settings, view)
    return objection(verified, None, admission_rules(settings, rules.ring), view, now, time.monotonic())


async def _load(settings: Settings, view: _LoadingView) -> None:
    """Load every revocation into the view, as a worker does when it starts."""
    async with opened_store(settings) as store:
        await store.ping()
        try:
            async with asyncio.timeout(_LOADED_WITHIN), asyncio.TaskGroup() as group:
                following = group.create_task(store.follow(view))
                await view.loaded.wait()
                following.cancel()
        except TimeoutError:
            fault = store.condition().fault
            raise StoreUnavailable(fault or f"the revocations were not loaded within {_LOADED_WITHIN:.0f} s") from None
