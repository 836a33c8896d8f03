"""The configuration, which has no faults any more, and its signing keys."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sidecar.assembly.keys import key_ring
from sidecar.config.advice import advice
from sidecar.config.settings import Settings
from sidecar.core.jose.keys import KeyRing
from sidecar.doctor.findings import Finding, Status, bad, doubtful, good

_KEYS: Final = "signing keys"
_ELSEWHERE: Final = frozenset(
    ["tls.certificate", "tokens.signing_keys"]
)  # other findings say the same with more detail
SOON: Final = 14  # days before an end from which on it is worth a warning, as in `sidecar check-config`


def look(settings: Settings, now: float, files: Iterable[Path]) -> Iterator[Finding]:
    """The warnings of `sidecar check-config`."""
    warnings = [each for each in advice(settings, now=now, files=files) if each.path not in _ELSEWHERE]
    for each in warnings:
        yield Finding("configuration", Status.WARNING, str(each))
    if not warnings:
        yield good("configuration", f"no faults; clients: {len(settings.clients)}, routes: {len(settings.routes)}")


def look_at_keys(settings: Settings, now: float) -> Iterable[Finding]:
    """Which key signs, and until when."""
    return [keys_finding(key_ring(settings.tokens), now)]


def keys_finding(ring: KeyRing, now: float) -> Finding:
    """Which key of a ring signs at `now` (epoch seconds), the next change, and whether any key signs after that."""
    change, end = _changes(ring, now)
    signer = ring.signer(now)
    found = f"{signer.kid} ({signer.alg}) signs"
    add = "add a key that begins before that to tokens.signing_keys: sidecar keys generate --out FILE"
    if ring.lapsed(now):
        return bad(_KEYS, "no key may sign now", "add a key to tokens.signing_keys: sidecar keys generate --out FILE")
    if change is not None:
        found += f" until {_moment(change)}"
        if change != end:
            found += f", then {ring.signer(change).kid}"
    if end is not None:
        found += f"; no key signs from {_moment(end)} on"
        if end - now < SOON * 86400:
            return doubtful(_KEYS, found, add)
    return good(_KEYS, found)


def _changes(ring: KeyRing, now: float) -> tuple[float | None, float | None]:
    """When another key than now will sign, or none; and when none will."""
    moments = {each for key in ring if key.can_sign for each in key.window if each is not None and each > now}
    signer, change = ring.signer(now), None
    for moment in sorted(moments):
        lapsed = ring.lapsed(moment)
        if change is None and (lapsed or ring.signer(moment) is not signer):
            change = moment
        if lapsed:
            return change, moment
    return change, None


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
