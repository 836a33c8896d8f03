"""The table of `sidecar doctor`: `tests/e2e/test_doctor.py` has the command beside real servers."""

import pytest

from sidecar.cli.doctor import table
from sidecar.doctor.findings import bad, doubtful, good, skipped
from tests.support.command import run

FINDINGS = [
    good("clock", "right"),
    bad(
        "upstream http://api.internal.example:3080",
        "nothing listens there " * 9,
        "start the API, " * 9 + "or correct upstream.url",
    ),
    doubtful("store data", "x" * 300, ""),
    skipped("store clock", "Redis was not reached"),
]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    lines = list(table(FINDINGS, width))
    plain = "\n".join(lines).replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[33m", "")
    plain = plain.replace("\x1b[90m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= width
    assert plain.split().count("listens") == 9
    assert plain.count("x") >= 300
    assert plain.splitlines()[-1] == "1 failed, 1 warning, 1 skipped, 1 ok"


def test_an_address_is_not_broken() -> None:
    assert any("http://api.internal.example:3080 " in line for line in table(FINDINGS, 100))


def test_the_help_says_what_it_does_and_the_exit_codes() -> None:
    text = run("doctor", "--help").output
    for words in (
        "changes nothing",
        "OPTIONS *",
        "prints no secret",
        "Exit codes",
    ):
        assert words in " ".join(text.split())


def test_the_file_is_needed() -> None:
    assert run("doctor").exit_code == 2
    assert run("doctor", "--config", "/none.yaml").exit_code == 2
