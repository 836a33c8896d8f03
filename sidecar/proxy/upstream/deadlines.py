"""Limits how long the upstream may be silent: a pure function from the condition of an exchange to a verdict.

The upstream's time runs while it is the upstream's turn: it has the whole request, or accepts no more of it for now, or has
not sent the 100 that the client waits for. While the client still has to send more of the request, it is the client's turn,
and the client's connection enforces the limit. The client's connection also enforces the limit for a client that accepts no
more of a response, during which the upstream is not read. Before the head of the response, that pause does not extend the
upstream's time.
"""

from enum import Enum
from typing import NamedTuple

from sidecar.proxy.limits import UpstreamTimeouts


class Verdict(Enum):
    """What to do with an exchange."""

    NOTHING = "nothing"
    BEGIN_ANEW = "begin anew"  # it is the client's turn: the upstream's time restarts afterwards
    FAIL = "fail"  # fail the exchange, and count it against the upstream
    FAIL_BLAMELESS = "fail blameless"  # fail the exchange without blame; the client may have kept the upstream waiting


class Situation(NamedTuple):
    """An exchange on an upstream connection. `answering`: the head of the final response was forwarded; `unread`: the sidecar
    does not read from the connection; `sending`: more of the request has to be sent; `full`: the upstream accepts no more of
    it for now; `held_back`: the client may withhold its body until it gets 100; `active_at`: when the upstream was last
    active, in monotonic seconds."""

    answering: bool
    unread: bool
    sending: bool
    full: bool
    held_back: bool
    active_at: float


def judge(situation: Situation, timeouts: UpstreamTimeouts, now: float) -> Verdict:
    """What to do with an exchange; `now` is in monotonic seconds."""
    answering, unread, sending, full, held_back, active_at = situation
    if unread and answering:
        return Verdict.NOTHING
    clients_turn = sending and not full and not held_back
    if clients_turn and not answering:
        return Verdict.BEGIN_ANEW
    if now - active_at <= (timeouts.stream if answering else timeouts.response):
        return Verdict.NOTHING
    return Verdict.FAIL_BLAMELESS if clients_turn or unread or held_back else Verdict.FAIL
