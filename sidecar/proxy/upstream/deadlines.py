"""How long the upstream may be silent, as a pure rule: what goes on in, a verdict out.

The upstream's time runs while it is the upstream's turn: it has the whole request, or takes no more of it for now, or has not
said 100 to a client that waits for that. While more of the request is to come from the client, it is the client's turn, and the
client's connection watches it. The client's connection also watches a client that takes no more of an answer, which is why the
upstream is not read for a while; before the head of the answer that is no reason to wait longer.
"""

from enum import Enum
from typing import NamedTuple

from sidecar.proxy.limits import UpstreamTimeouts


class Verdict(Enum):
    """What is to be done."""

    NOTHING = "nothing"
    BEGIN_ANEW = "begin anew"  # it is the client's turn: the upstream's time begins after it
    FAIL = "fail"  # the exchange, and blame the upstream
    FAIL_BLAMELESS = "fail blameless"  # the exchange; the client may have kept the upstream waiting


class Situation(NamedTuple):
    """An exchange on an upstream connection. `answering`: the head of the final response was passed on; `unread`: the sidecar
    does not read from the connection; `sending`: more of the request is to come; `full`: the upstream takes no more of it for
    now; `held_back`: the client may wait for 100 with its body; `active_at`: when the upstream was last heard, in monotonic
    seconds."""

    answering: bool
    unread: bool
    sending: bool
    full: bool
    held_back: bool
    active_at: float


def judge(situation: Situation, timeouts: UpstreamTimeouts, now: float) -> Verdict:
    """What to do about an exchange; `now` in monotonic seconds."""
    answering, unread, sending, full, held_back, active_at = situation
    if unread and answering:
        return Verdict.NOTHING
    clients_turn = sending and not full and not held_back
    if clients_turn and not answering:
        return Verdict.BEGIN_ANEW
    if now - active_at <= (timeouts.stream if answering else timeouts.response):
        return Verdict.NOTHING
    return Verdict.FAIL_BLAMELESS if clients_turn or unread or held_back else Verdict.FAIL
