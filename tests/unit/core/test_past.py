"""core.past: what is forgotten has ended, whatever is done to the clock."""

from sidecar.core.past import BELIEVED_AFTER, SurelyPast


class Clocks:
    """Both clocks; `pass_` moves both, and the test sets `wall`."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0
        self.past = SurelyPast(lambda: self.wall, lambda: self.steady)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_it_is_the_wall_clock_while_nobody_touches_that() -> None:
    clocks = Clocks()
    for seconds in (0, 1, 3600, 10 * 86400):
        clocks.pass_(seconds)
        assert clocks.past() == clocks.wall


def test_a_jump_ahead_and_back_forgets_nothing() -> None:
    clocks = Clocks()
    clocks.wall += 3600
    clocks.pass_(60)
    assert clocks.past() == 1_000_060
    clocks.wall -= 3600
    assert clocks.past() == clocks.wall == 1_000_060


def test_a_clock_that_was_set_back_is_believed_at_once() -> None:
    clocks = Clocks()
    clocks.wall -= 3600
    assert clocks.past() == clocks.wall
    clocks.wall += 3600
    assert clocks.past() == clocks.wall


def test_a_clock_that_stays_ahead_is_believed_in_the_end() -> None:
    """As of a machine that began in 1970."""
    clocks = Clocks()
    clocks.wall += 50 * 365 * 86400
    assert clocks.past() == 1_000_000
    clocks.pass_(BELIEVED_AFTER - 1)
    assert clocks.past() == 1_000_000 + BELIEVED_AFTER - 1
    clocks.pass_(1)
    assert clocks.past() == clocks.wall
    clocks.pass_(5)
    assert clocks.past() == clocks.wall


def test_a_jump_that_is_undone_begins_anew() -> None:
    clocks = Clocks()
    clocks.wall += 3600
    clocks.past()
    clocks.pass_(BELIEVED_AFTER - 1)
    clocks.wall -= 3600
    clocks.past()
    clocks.wall += 3600
    clocks.past()
    clocks.pass_(BELIEVED_AFTER - 1)
    assert clocks.past() == clocks.wall - 3600
