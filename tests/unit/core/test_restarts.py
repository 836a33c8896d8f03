"""When what failed is started again."""

import itertools

from sidecar.core.restarts import MOST, STABLE, Restarts


def test_pauses_grow_and_end() -> None:
    restarts = Restarts()
    pauses = [restarts.failed(0.0) for _ in range(MOST)]
    assert pauses[-1] is None
    grown = [pause for pause in pauses if pause is not None]
    assert len(grown) == MOST - 1
    assert all(3 * earlier < later for earlier, later in itertools.pairwise(grown))
    assert grown[0] < 1 < sum(grown)


def test_a_stable_run_begins_a_new_row() -> None:
    restarts = Restarts()
    first = restarts.failed(0.0)
    for _ in range(3 * MOST):
        restarts.failed(STABLE - 0.1)
        assert restarts.failed(STABLE) == first
        assert restarts.in_a_row == 1


def test_what_runs_long_each_time_is_always_started_again() -> None:
    restarts = Restarts()
    assert None not in [restarts.failed(2 * STABLE) for _ in range(10 * MOST)]


def test_the_representation_says_how_many() -> None:
    restarts = Restarts()
    restarts.failed(0.0)
    assert repr(restarts) == "<Restarts 1 failures in a row>"
