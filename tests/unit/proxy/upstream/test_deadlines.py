"""When an upstream is silent for too long, by what its connection does."""

from typing import Any

import pytest

from sidecar.proxy.limits import UpstreamTimeouts
from sidecar.proxy.upstream.deadlines import Situation, Verdict, judge

TIMEOUTS = UpstreamTimeouts(connect=1, response=10, stream=20)
NOW = 1000.0
NOTHING, ANEW, FAIL, BLAMELESS = Verdict

# What goes on, within how many seconds it may last, the verdict until then, and after.
CASES: list[tuple[str, dict[str, Any], float, Verdict, Verdict]] = [
    ("it has the whole request", {}, 10, NOTHING, FAIL),
    ("it has begun its answer", {"answering": True}, 20, NOTHING, FAIL),
    ("it takes no more of the request", {"sending": True, "full": True}, 10, NOTHING, FAIL),
    ("more of the request is to come", {"sending": True}, 10, ANEW, ANEW),
    ("the client waits for 100", {"sending": True, "held_back": True}, 10, NOTHING, BLAMELESS),
    ("it answers before it has the request", {"sending": True, "answering": True}, 20, NOTHING, BLAMELESS),
    ("the client takes no more of the answer", {"unread": True, "answering": True}, 20, NOTHING, NOTHING),
    ("the client takes no more, and no answer came", {"unread": True}, 10, NOTHING, BLAMELESS),
]


@pytest.mark.parametrize(("known", "limit", "before", "after"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_an_upstream_has_its_time_and_no_more(
    known: dict[str, Any], limit: float, before: Verdict, after: Verdict
) -> None:
    nothing = dict.fromkeys(["answering", "unread", "sending", "full", "held_back"], False)
    assert judge(Situation(**{**nothing, **known}, active_at=NOW - limit), TIMEOUTS, NOW) is before
    assert judge(Situation(**{**nothing, **known}, active_at=NOW - limit - 0.001), TIMEOUTS, NOW) is after
