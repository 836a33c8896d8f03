"""config.former_names: a file of an earlier version means what it meant."""

from pathlib import Path

from sidecar.config.former_names import with_current_names
from tests.support.settings import assert_refused, changed, settings_of


def test_a_former_name_means_the_current_one(file: Path) -> None:
    assert settings_of(file, changed(timeouts={"drain": "7s", "idle": "9s"})).drain.timeout == 7
    assert settings_of(file, changed(timeouts={"drain": "7s", "idle": "9s"})).timeouts.idle == 9
    assert settings_of(file, changed(timeouts={"drain": "7s"}, drain={"delay": "3s"})).drain.delay == 3


def test_a_fault_of_its_value_names_the_current_key(file: Path) -> None:
    assert_refused(file, changed(timeouts={"drain": 7}), "drain.timeout: ")


def test_both_names_are_a_fault(file: Path) -> None:
    both = changed(timeouts={"drain": "7s"}, drain={"timeout": "8s"})
    assert_refused(file, both, "timeouts.drain: is the former name of drain.timeout")


def test_what_is_no_section_stays_for_the_other_checks() -> None:
    for odd in ({"timeouts": 5}, {"timeouts": {"drain": 1}, "drain": 5}, {"timeouts": None}):
        assert with_current_names(odd) == (odd, [])
