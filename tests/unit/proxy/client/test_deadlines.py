"""When a client is too slow, by what its connection does."""

from typing import Any

import pytest

from sidecar.proxy.client.deadlines import HALF_CLOSED, LINGER, Situation, Verdict, judge
from sidecar.proxy.client.states import State
from sidecar.proxy.limits import ClientTimeouts

TIMEOUTS = ClientTimeouts(request_header=10, idle=60)
NOW = 1000.0

# State, what else is known with times before `NOW`, how many seconds it may last, and what then becomes of it.
CASES: list[tuple[str, State, dict[str, Any], str, float, Verdict]] = [
    ("silent between requests", State.IDLE, {}, "active_at", 60, Verdict.CLOSE),
    ("silent from the beginning", State.IDLE, {"active_at": NOW}, "head_since", 10, Verdict.CLOSE),
    ("a head that does not end", State.HEAD, {"active_at": NOW, "head_begun": True}, "head_since", 10, Verdict.ANSWER_408),
    ("a body that stalls", State.BUSY, {"body_due": True}, "active_at", 60, Verdict.GIVE_UP_408),
    ("a client that may have left", State.HALF_CLOSED, {}, "asked_at", HALF_CLOSED, Verdict.CUT),
    ("the rest of a body", State.EMPTYING, {}, "until", 0, Verdict.LINGER),
    ("after our last word", State.LINGERING, {}, "until", 0, Verdict.CUT),
    *[
        (f"takes nothing while {state.value}", state, {"unsent": 1, "until": NOW}, "moved_at", 60, Verdict.RESET)
        for state in State
        if state not in (State.TUNNEL, State.ARRIVING, State.CLOSED)
    ],
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "known", "since", "limit", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_client_has_its_time_and_no_more(
    state: State, known: dict[str, Any], since: str, limit: float, verdict: Verdict
) -> None:
    in_time = judge(Situation(state, **known, **{since: NOW - limit}), TIMEOUTS, NOW)
    assert in_time is (Verdict.LINGER_ANEW if known.get("unsent") and state is State.LINGERING else Verdict.NOTHING)
    assert judge(Situation(state, **known, **{since: NOW - limit - 0.001}), TIMEOUTS, NOW) is verdict


NEVER: list[tuple[str, Situation]] = [
    ("an answer that takes long", Situation(State.BUSY)),
    ("a body that nobody takes", Situation(State.BUSY, body_due=False)),
    ("a body behind the answer", Situation(State.BUSY, body_due=True, answer_begun=True)),
    ("an answer to who ended its side", Situation(State.HALF_CLOSED, answer_begun=True)),
    *[(f"{state.value}", Situation(state, unsent=1)) for state in (State.TUNNEL, State.ARRIVING, State.CLOSED)],
]


@pytest.mark.parametrize("situation", [each for _, each in NEVER], ids=[name for name, _ in NEVER])
def test_what_is_not_the_clients_fault_lasts(situation: Situation) -> None:
    assert judge(situation, TIMEOUTS, NOW) is Verdict.NOTHING


@pytest.mark.parametrize("state", State)
def test_every_state_is_judged(state: State) -> None:
    for unsent in (0, 1):
        assert isinstance(judge(Situation(state, unsent=unsent), TIMEOUTS, NOW), Verdict)


def test_lingering_lasts_from_the_delivery_of_the_last_word() -> None:
    situation = Situation(State.LINGERING, unsent=1, moved_at=NOW - 1, until=NOW - 5)
    assert judge(situation, TIMEOUTS, NOW) is Verdict.LINGER_ANEW
    assert judge(situation._replace(unsent=0, until=NOW + LINGER), TIMEOUTS, NOW + LINGER) is Verdict.NOTHING
