"""Every state of a connection can be reached and left, and nothing comes after its end."""

import pytest

from sidecar.proxy.client.states import TRANSITIONS, State
from tests.support.states import reached_from


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reached() -> None:
    assert reached_from(State.ARRIVING, TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", set(State) - {State.CLOSED})
def test_a_connection_may_be_lost_at_any_time(state: State) -> None:
    assert State.CLOSED in TRANSITIONS[state]


def test_nothing_follows_the_end() -> None:
    assert not TRANSITIONS[State.CLOSED]


@pytest.mark.parametrize("state", [State.LINGERING, State.TUNNEL])
def test_no_request_begins_after_our_last_word(state: State) -> None:
    assert not reached_from(state, TRANSITIONS) & {State.IDLE, State.HEAD, State.BUSY, State.EMPTYING}
