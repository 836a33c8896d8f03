"""Every state of an upstream connection can be reached and left, and nothing comes after its end."""

import pytest

from sidecar.proxy.upstream.states import CARRYING, TRANSITIONS, State
from tests.support.states import reached_from


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reached() -> None:
    assert reached_from(State.CONNECTING, TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", set(State) - {State.CLOSED})
def test_a_connection_may_be_lost_at_any_time(state: State) -> None:
    assert State.CLOSED in TRANSITIONS[state]


def test_nothing_follows_the_end() -> None:
    assert not TRANSITIONS[State.CLOSED]


@pytest.mark.parametrize("state", [State.TUNNEL, State.CLOSING])
def test_what_is_given_up_carries_no_other_exchange(state: State) -> None:
    assert not reached_from(state, TRANSITIONS) & {State.IDLE, State.ASKED, State.HEAD, State.BODY}


@pytest.mark.parametrize("state", set(State) - {State.IDLE})
def test_an_exchange_begins_on_an_idle_connection_only(state: State) -> None:
    assert State.ASKED not in TRANSITIONS[state]


def test_what_carries_an_exchange_can_be_given_up() -> None:
    assert all(State.CLOSING in TRANSITIONS[state] for state in CARRYING)
