"""The section `drain`."""

from pathlib import Path

from tests.support.settings import assert_refused, changed, settings_of


def test_the_defaults_fit_into_the_grace_of_kubernetes(file: Path) -> None:
    drain = settings_of(file, changed()).drain
    assert (drain.delay, drain.timeout) == (5, 25)


def test_the_delay_may_be_nothing_and_the_timeout_may_not(file: Path) -> None:
    assert settings_of(file, changed(drain={"delay": "0s"})).drain.delay == 0
    assert_refused(file, changed(drain={"timeout": "0s"}), "drain.timeout: must be more than zero")
