"""Logs which key signs when that changes, and that no key is in its window any more."""

import logging
from collections.abc import Callable
from typing import Final

from sidecar.core.jose.keys import KeyRing

_AGAIN: Final = 60.0  # seconds


class KeyWatch:
    """Call `check` about once a second. `ring` gives the current keys, `now` epoch seconds."""

    def __init__(self, log: logging.Logger, ring: Callable[[], KeyRing], now: Callable[[], float]) -> None:
        self._log = log
        self._ring = ring
        self._now = now
        self._signer = ring().signer(now()).kid
        self._quiet_until = 0.0  # monotonic

    def check(self, monotonic: float) -> None:
        """Log a change of the signing key once, and the lack of a key in its window once a minute."""
        ring, now = self._ring(), self._now()
        signer = ring.signer(now)
        if signer.kid != self._signer:
            self._signer = signer.kid
            self._log.info("signing_key_changed", extra={"kid": signer.kid, "alg": signer.alg})
        if ring.lapsed(now) and monotonic >= self._quiet_until:
            self._quiet_until = monotonic + _AGAIN
            detail = "every key is out of its window, this one goes on signing: add a key, or the next start is refused"
            self._log.error("signing_keys_lapsed", extra={"kid": signer.kid, "detail": detail})
