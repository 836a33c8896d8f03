"""When a client is too slow: what its connection does, and since when, goes in; what is to become of it comes out.

The limits, by state (`states`):

- *idle*      `timeouts.idle`, or `timeouts.request_header` before the first request: it closes
- *head*      `timeouts.request_header`: 408
- *busy*      `timeouts.idle` without progress by the client while its bytes are waited for: 408, unless an answer has begun
- *half-closed* 1 s until the answer begins: the client counts as gone, and the upstream is told
- *emptying*  `timeouts.request_header` for what is missing of the body: our last word was said
- *lingering* the client's close, or 2 s after all was delivered
- *tunnel*    has limits of its own (`proxy.tunnel`)

In every state but the tunnel, a client that takes nothing of what waits for it for `timeouts.idle` is cut.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from sidecar.proxy.client.states import State
from sidecar.proxy.limits import ClientTimeouts

LINGER: Final = 2.0  # seconds
HALF_CLOSED: Final = 1.0


class Verdict(Enum):
    """What is to become of a connection."""

    NOTHING = auto()
    ANSWER_408 = auto()  # the head does not come: that is our last word
    GIVE_UP_408 = auto()  # the body does not come: the exchange ends
    CLOSE = auto()
    LINGER = auto()  # close, after the answer that was given
    LINGER_ANEW = auto()  # what was said is not delivered yet: the time begins again
    CUT = auto()
    RESET = auto()  # cut, so that no answer can be taken for a whole one


class Situation(NamedTuple):
    """What a connection does at a moment. All times in monotonic seconds."""

    state: State
    unsent: int = 0  # bytes that the client has yet to take
    moved_at: float = 0.0  # when that last changed
    active_at: float = 0.0  # when the client was last heard
    head_since: float = 0.0  # since when a head is waited for; 0 after a request, until the next begins
    head_begun: bool = False  # a byte of it has come
    until: float = 0.0  # when emptying or lingering ends
    asked_at: float = 0.0  # when the request began, or the client ended its side, whichever was later
    answer_begun: bool = False
    body_due: bool = False  # the client is to send more of a body, and would be read


def judge(situation: Situation, timeouts: ClientTimeouts, now: float) -> Verdict:
    """What is to become of a connection at `now`."""
    state = situation.state
    if state in (State.TUNNEL, State.ARRIVING, State.CLOSED):
        return Verdict.NOTHING
    if situation.unsent:
        if now - situation.moved_at > timeouts.idle:
            return Verdict.RESET
        return Verdict.LINGER_ANEW if state is State.LINGERING else Verdict.NOTHING
    late = _LATE[state](situation, timeouts, now)
    return late if late is not None else Verdict.NOTHING


def _waiting(situation: Situation, timeouts: ClientTimeouts, now: float) -> Verdict | None:
    if not situation.head_since:
        return Verdict.CLOSE if now - situation.active_at > timeouts.idle else None
    if now - situation.head_since <= timeouts.request_header:
        return None
    return Verdict.ANSWER_408 if situation.head_begun else Verdict.CLOSE  # connected and said nothing


def _busy(situation: Situation, timeouts: ClientTimeouts, now: float) -> Verdict | None:
    stalled = situation.body_due and now - situation.active_at > timeouts.idle
    return Verdict.GIVE_UP_408 if stalled and not situation.answer_begun else None


def _half_closed(situation: Situation, _: ClientTimeouts, now: float) -> Verdict | None:
    return Verdict.CUT if not situation.answer_begun and now - situation.asked_at > HALF_CLOSED else None


def _emptying(situation: Situation, _: ClientTimeouts, now: float) -> Verdict | None:
    return Verdict.LINGER if now > situation.until else None


def _lingering(situation: Situation, _: ClientTimeouts, now: float) -> Verdict | None:
    return Verdict.CUT if now > situation.until else None


_LATE: Final = {
    State.IDLE: _waiting,
    State.HEAD: _waiting,
    State.BUSY: _busy,
    State.HALF_CLOSED: _half_closed,
    State.EMPTYING: _emptying,
    State.LINGERING: _lingering,
}
