"""Decides when a client is too slow: from a connection's state and times, a pure function derives what to do with it.

The limits, by state (`states`):

- *idle*      `timeouts.idle`, or `timeouts.request_header` before the first request: the connection closes
- *head*      `timeouts.request_header`: 408
- *busy*      `timeouts.idle` without progress by the client while its bytes are awaited: 408, unless a response has begun
- *half-closed* 1 s until the response begins: then the client counts as gone, and the upstream connection is closed
- *emptying*  `timeouts.request_header` for the rest of the body; the response has been sent
- *lingering* until the client closes, or for 2 s after everything was delivered
- *tunnel*    has its own limits (`proxy.tunnel`)

In every state but *tunnel*, a connection is cut when its client accepts none of the pending bytes for `timeouts.idle`.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from sidecar.proxy.client.states import State
from sidecar.proxy.limits import ClientTimeouts

LINGER: Final = 2.0  # seconds
HALF_CLOSED: Final = 1.0


class Verdict(Enum):
    """What to do with a connection."""

    NOTHING = auto()
    ANSWER_408 = auto()  # the head is overdue: answer 408 and close
    GIVE_UP_408 = auto()  # the body is overdue: the exchange ends with 408
    CLOSE = auto()
    LINGER = auto()  # close after the response that was sent
    LINGER_ANEW = auto()  # the response is not delivered yet: restart the linger time
    CUT = auto()
    RESET = auto()  # cut with a TCP reset, so that no partial response can be taken for a complete one


class Situation(NamedTuple):
    """The condition of a connection at one moment. All times are monotonic seconds."""

    state: State
    unsent: int = 0  # bytes that the client has yet to take
    moved_at: float = 0.0  # when `unsent` last changed
    active_at: float = 0.0  # when the client last sent something
    head_since: float = 0.0  # since when a head has been awaited; 0 after a request, until the next one begins
    head_begun: bool = False  # part of the head has arrived
    until: float = 0.0  # when emptying or lingering ends
    asked_at: float = 0.0  # when the request began or the client closed its side, whichever was later
    answer_begun: bool = False
    body_due: bool = False  # the client has to send more of a body, and the sidecar would read it


def judge(situation: Situation, timeouts: ClientTimeouts, now: float) -> Verdict:
    """What to do with a connection at `now`."""
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
    return Verdict.ANSWER_408 if situation.head_begun else Verdict.CLOSE  # CLOSE: the client connected and sent nothing


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
