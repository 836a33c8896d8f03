"""core.entry_table: a dictionary in few bytes."""

import math
import random
import struct
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.core import entry_table
from sidecar.core.entry_table import EntryTable

ODD = ("", " ", "a", "\0" * 22, "é" * 11, "\ud800", "\udcff", "ÿ", " family 0 " + "k" * 64, "x" * 5000)
ENDS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20)


def texts(start: int, count: int) -> list[str]:
    """As long as token ids are, and shorter ones, in which others are contained."""
    return [f"{number:022}" for number in range(start, start + count)] + [str(number) for number in range(start // 40)]


class AgainstADictionary(RuleBasedStateMachine):
    """Whatever is done in whatever order, the table has what a dictionary would have."""

    def __init__(self) -> None:
        super().__init__()
        self.table = EntryTable()
        self.model: dict[str, int] = {}
        self.walk: Iterator[tuple[str, int]] = iter(())
        self.walked: dict[str, int] = {}
        self.expected: set[str] = set()

    def _add(self, entries: list[tuple[str, int]]) -> None:
        self.table.add(entries)
        for text, end in entries:
            self.model[text] = max(end, self.model.get(text, end))

    @rule(start=st.integers(0, 999), count=st.integers(1, 400), end=ENDS, step=st.integers(0, 3))
    def add_many(self, start: int, count: int, end: int, step: int) -> None:
        self._add([(text, min(end + step * number, 2**63 - 1)) for number, text in enumerate(texts(start, count))])

    @rule(text=st.sampled_from(ODD) | st.text(max_size=30), end=ENDS)
    def add_one(self, text: str, end: int) -> None:
        self._add([(text, end), (text, end)])

    @rule(limit=ENDS)
    def drop(self, limit: int) -> None:
        assert self.table.drop(limit)
        self._forget({text for text, end in self.model.items() if end <= limit})

    @rule(limit=ENDS, at_most=st.integers(1, 500))
    def drop_some(self, limit: int, at_most: int) -> None:
        before = dict(self.table.above(-math.inf))
        done = self.table.drop(limit, at_most)
        gone = before.keys() - dict(self.table.above(-math.inf)).keys()
        assert len(gone) <= at_most
        assert all(before[text] <= limit for text in gone)
        assert done or len(gone) == at_most
        self._forget(gone)
        assert not done or all(end > limit for end in self.model.values())

    def _forget(self, gone: set[str]) -> None:
        self.model = {text: end for text, end in self.model.items() if text not in gone}
        self.expected -= gone

    @rule()
    def start_to_walk(self) -> None:
        self.walk, self.walked, self.expected = self.table.above(5), {}, {t for t, end in self.model.items() if end > 5}

    @rule(steps=st.integers(1, 300))
    def walk_on(self, steps: int) -> None:
        for _ in range(steps):
            text, end = next(self.walk, ("", 0))
            self.walked[text] = end
            if not end:
                assert self.expected <= self.walked.keys(), "what is there throughout is found"
                break

    @invariant()
    def has_what_a_dictionary_would_have(self) -> None:
        assert len(self.table) == len(self.model)
        assert dict(self.table.above(-math.inf)) == self.model
        for text in (*texts(0, 50), *ODD):
            assert (text in self.table) is (text in self.model)


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(deadline=None)


def filled(count: int) -> EntryTable:
    table = EntryTable()
    table.add((f"{number:022}", number) for number in range(count))
    return table


def size(table: EntryTable) -> int:
    """Bytes of memory."""
    (buckets,) = table._tables.values()
    each = {id(bucket): sys.getsizeof(bucket) for bucket in buckets._slots}
    return sum(each.values()) + sys.getsizeof(buckets._slots) + sys.getsizeof(buckets._least)


def test_an_entry_takes_few_bytes_and_the_table_shrinks() -> None:
    table = filled(50_000)
    full = size(table)
    assert full / 50_000 < 60
    table.drop(49_000)
    while not table.drop(49_100, 10):
        pass
    assert size(table) < full / 5
    assert dict(table.above(0)) == {f"{number:022}": number for number in range(49_101, 50_000)}
    table.drop(50_000)
    assert (len(table), table._tables) == (0, {})


def test_texts_that_cannot_be_separated_share_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even then is there an endless loop, or a table that grows with them."""
    monkeypatch.setattr(entry_table, "_HASH", 0)
    table = filled(500)
    (buckets,) = table._tables.values()
    assert dict(table.above(-1)) == {f"{number:022}": number for number in range(500)}
    assert "0" * 22 in table
    assert "9" * 22 not in table
    assert len(buckets._slots) < 500


def test_a_text_that_begins_inside_a_record_is_not_contained() -> None:
    """Where an id ends and an integer begins, the bytes can be those of another id, in one bucket."""
    table = EntryTable()
    table.add([("abcdefgh", int.from_bytes(b"ijklmnop"))])
    inner = ("bcdefghi", "ijklmnop", "hijklmno")
    assert not any(text in table for text in inner)
    table.add((text, 1) for text in inner)
    assert dict(table.above(1)) == {"abcdefgh": int.from_bytes(b"ijklmnop")}
    assert all(text in table for text in inner)


def test_the_empty_text_is_contained_from_when_it_is_added_until_it_is_dropped() -> None:
    """It is found even in an empty bucket."""
    table = EntryTable()
    assert "" not in table
    table.add([("", 1), ("", 2)])
    assert "" in table
    table.drop(2, 1)
    assert "" not in table
    table.add([("", 3)])
    assert dict(table.above(0)) == {"": 3}


def test_an_integer_beyond_64_bits_is_refused_and_changes_nothing() -> None:
    table = filled(3)
    with pytest.raises((OverflowError, struct.error)):
        table.add([("a", 2**63)])
    assert len(table) == 3
    assert "a" not in table


def test_random_ids_are_found_and_others_are_not() -> None:
    rng = random.Random(1)  # noqa: S311  the same in every run
    ids = [rng.randbytes(11).hex() for _ in range(20_000)]
    table = EntryTable()
    table.add((each, 1) for each in ids[:10_000])
    assert all(each in table for each in ids[:10_000])
    assert not any(each in table for each in ids[10_000:])
