"""An hour of counts, from what the workers have counted since their start."""

import pytest

from sidecar.ops.console.facts import Tally
from sidecar.ops.console.history import BUCKETS, History, Minute, is_failure
from tests.support.console import Clock


def tally(requests: int, **reasons: int) -> Tally:
    return Tally({"admitted 200": requests}, {name.replace("__", " "): count for name, count in reasons.items()})


def counts(history: History) -> list[tuple[int, int, int]]:
    return [(minute.requests, minute.refused, minute.failed) for minute in history.minutes() if minute.requests]


@pytest.fixture
def clock() -> Clock:
    return Clock(6000.0)


def test_the_difference_to_the_tally_before_belongs_to_the_present_minute(clock: Clock) -> None:
    history = History(clock)
    history.add({1: tally(5, protected__expired=2)})
    clock.now += 60
    history.add({1: tally(9, protected__expired=2, upstream__upstream_timeout=1)})
    assert counts(history) == [(5, 2, 0), (4, 0, 1)]
    assert [(minute.ago, minute.answered) for minute in history.minutes()[-2:]] == [(60.0, 3), (0.0, 3)]


def test_samples_within_a_minute_add_up(clock: Clock) -> None:
    history = History(clock)
    for requests in range(1, 6):
        history.add({1: tally(requests)})
        clock.now += 9
    assert counts(history) == [(5, 0, 0)]


def test_refusals_within_a_bucket_add_up(clock: Clock) -> None:
    history = History(clock)
    for refused in range(1, 4):
        history.add({1: tally(refused, protected__expired=refused)})
    assert counts(history) == [(3, 3, 0)]


def test_workers_add_up_and_a_late_one_loses_nothing(clock: Clock) -> None:
    history = History(clock)
    history.add({1: tally(1), 2: tally(10)})
    clock.now += 60
    history.add({1: tally(2)})
    clock.now += 60
    history.add({1: tally(2), 2: tally(30)})
    assert counts(history) == [(11, 0, 0), (1, 0, 0), (20, 0, 0)]


def test_a_replaced_worker_begins_anew(clock: Clock) -> None:
    history = History(clock)
    history.add({1: tally(10)})
    history.ended(1, tally(12, sidecar__internal=1))
    history.add({2: tally(3)})
    history.ended(2, None)
    history.ended(None, None)
    history.add({1: tally(4)})  # the system has given the number again
    assert counts(history) == [(19, 0, 1)]


def test_what_is_older_than_an_hour_is_forgotten(clock: Clock) -> None:
    history = History(clock)
    history.add({1: tally(7)})
    clock.now += 59 * 60
    assert counts(history) == [(7, 0, 0)]
    clock.now += 60
    assert counts(history) == []


def test_memory_is_bounded(clock: Clock) -> None:
    history = History(clock)
    for step in range(3 * BUCKETS):
        history.add({1: tally(step)})
        clock.now += 10
    assert repr(history) == f"<History of {BUCKETS} buckets>"
    assert history.seconds == 3600


def test_nothing_is_more_answered_than_asked() -> None:
    """A login that fails has several events."""
    assert Minute(0.0, 1, {"token bad_credentials": 2}).answered == 0


def test_who_is_at_fault() -> None:
    assert [is_failure(f"{plane} x") for plane in ("upstream", "sidecar", "protected", "token", "request")] == [
        True, True, False, False, False,
    ]  # fmt: skip
