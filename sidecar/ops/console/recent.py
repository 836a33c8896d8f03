"""Remembers the last refusals of a worker, and when each client last got a token, for the console.

It works only for refusals, issued tokens and changes of the store, never for an admitted request. What it shows is what the
log says: tokens are removed from paths when somebody looks.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from sidecar.core.causes import Fault
from sidecar.core.events import Event, RequestDone, SecretUsed, StoreChanged, TokenIssued
from sidecar.ops.console.facts import Refusal
from sidecar.ops.redaction import without_tokens

_MOST: Final = 100
_MOST_UPSTREAMS: Final = 64  # addresses change with the configuration
_LONGEST: Final = 1024  # characters of a text, as in the log


class Recent:
    """The last `most` refusals. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float], most: int = _MOST) -> None:
        self._clock = clock
        self._refusals: deque[tuple[float, RequestDone]] = deque(maxlen=most)
        self.used: dict[str, float] = {}
        self.upstreams: dict[str, tuple[float, str]] = {}
        self.store_changed_at: float | None = None

    def __repr__(self) -> str:
        return f"<Recent {len(self._refusals)} refusals>"

    def on_event(self, event: Event) -> None:
        """Remember an event, if the console shows it."""
        if type(event) is RequestDone:
            if event.reason is not None:
                self._refused(event)
        elif type(event) is TokenIssued or type(event) is SecretUsed:
            self.used[event.client_id] = self._clock()
        elif type(event) is StoreChanged:
            self.store_changed_at = self._clock()

    def _refused(self, event: RequestDone) -> None:
        now = self._clock()
        if len(event.path) > _LONGEST or len(event.method) > _LONGEST:
            # One character more than is shown, so that a cut text is recognised.
            event = event._replace(method=event.method[: _LONGEST + 1], path=event.path[: _LONGEST + 1])
        self._refusals.append((now, event))
        fault = event.fault
        if fault is not None and fault.upstream:
            self.upstreams.pop(fault.upstream, None)
            self.upstreams[fault.upstream] = (now, told(fault))
            if len(self.upstreams) > _MOST_UPSTREAMS:
                del self.upstreams[next(iter(self.upstreams))]

    def refusals(self) -> list[Refusal]:
        """The newest first, without tokens."""
        return [_refusal(at, event) for at, event in reversed(self._refusals)]

    def clients(self, configured: Mapping[str, object]) -> dict[str, float]:
        """The last use of each of the configured clients."""
        return {name: at for name, at in self.used.items() if name in configured}


def told(fault: Fault) -> str:
    """The cause of a failure, in words."""
    return f"{fault.cause.word}: {_shown(fault.detail)}"


def _refusal(at: float, event: RequestDone) -> Refusal:
    reason, fault = event.reason, event.fault
    assert reason is not None  # noqa: S101  only refusals are kept
    return Refusal(
        at=at,
        status=event.status,
        plane=reason.plane.value,
        reason=reason.word,
        method=_shown(event.method),
        path=_shown(event.path),
        peer=event.peer,
        client_id=event.client_id,
        user=event.user,
        cause=fault.cause.word if fault else None,
        detail=_shown(fault.detail) if fault else None,
        upstream=fault.upstream or None if fault else None,
        request_id=None if event.request_id is None else _shown(event.request_id),
    )


def _shown(text: str) -> str:
    """As in the log. A lone surrogate, which JSON and HTML cannot hold, is replaced."""
    return without_tokens(text, _LONGEST).encode("utf-8", "replace").decode()
