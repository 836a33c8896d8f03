"""The words for people."""

import pytest

from sidecar.core.reasons import Reason
from sidecar.ops.console.wording import amount, number, plural, size, words_of


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_words(reason: Reason) -> None:
    words = words_of(f"{reason.plane.value} {reason.word}")
    assert words.word == reason.word
    assert all(words)


def test_an_unknown_reason_keeps_its_word() -> None:
    assert words_of("protected new_one") == ("new_one", "", "", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0, "0 s"), (0.44, "0.4 s"), (5, "5 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"),
        (3720, "1 h 2 min"), (86400, "1 d"), (90000, "1 d 1 h"), (900000, "10 d"),
    ],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert amount(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (150 * 1024**2, "150 MiB"), (5 * 1024**4, "5120 GiB")],
)
def test_a_size_is_short(count: int, text: str) -> None:
    assert size(count) == text


def test_counts_and_nouns() -> None:
    assert (number(1234567), plural(1, "entry", "entries"), plural(0, "worker")) == (
        "1\u202f234\u202f567", "1 entry", "0 workers",
    )  # fmt: skip
