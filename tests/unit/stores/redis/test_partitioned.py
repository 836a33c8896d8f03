"""One view and one set of events, made of those of the partitions; the rest is in contract/test_cluster.py."""

import pytest

from sidecar.core.events import Event, StoreChanged, StoreNoted
from sidecar.core.partitions import place_of_token
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.stores.redis.partitioned import PartialView, PartitionEvents, partial_views

UP, DOWN = StoreChanged(up=True, detail="up"), StoreChanged(up=False, detail="h:1: gone")


@pytest.fixture
def view() -> RevocationView:
    return RevocationView(5.0)


@pytest.fixture
def parts(view: RevocationView) -> list[PartialView]:
    return partial_views(view, 3)


def test_the_view_is_as_current_as_its_least_current_part(view: RevocationView, parts: list[PartialView]) -> None:
    parts[0].confirm(100.0)
    parts[1].confirm(101.0)
    assert not view.usable(101.0), "one part was never confirmed"
    parts[2].confirm(99.0)
    assert view.staleness(101.0) == 2.0
    parts[2].confirm(98.0)  # an older answer that came late
    parts[2].confirm(103.0)
    assert view.staleness(103.0) == 3.0
    for _ in range(9):
        parts[0].confirm(200.0)
        parts[1].confirm(200.0)
    assert not view.usable(108.5)


def test_what_a_part_learns_is_in_all(view: RevocationView, parts: list[PartialView]) -> None:
    parts[0].add([("a", 50), (NotBefore("client", "c", 10).entry, 50)])
    assert "a" in view
    assert all("a" in part for part in parts)
    assert all(part.issued_too_early("c", "", 10) for part in parts)
    assert parts[1].purge(60, 1000)
    assert "a" not in view


def test_a_part_restores_what_belongs_to_it_and_each_not_before_time(
    view: RevocationView, parts: list[PartialView]
) -> None:
    names = [f"{number:04}" for number in range(100)]
    before = NotBefore("client", "c", 10).entry
    view.add([(name, 50) for name in names] + [(before, 50)])
    for place, part in enumerate(parts):
        found = [entry for entries in part.slices(0, 7) for entry, _ in entries]
        assert sorted(found) == sorted([before, *(name for name in names if place_of_token(name, 3) == place)])
        assert part.not_before == {before: 50}


class Told:
    """What the operator is told of three partitions."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 1000.0
        events = PartitionEvents(3, monotonic=lambda: self.now, emit=self.events.append)
        self.handlers = [events.of(place) for place in range(3)]
        self.all = events


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_store_is_up_when_all_partitions_are(told: Told) -> None:
    for number, handle in enumerate(told.handlers):
        assert (told.events, told.all.down) == ([], 3 - number)
        handle(UP)
    assert [event.up for event in told.events if isinstance(event, StoreChanged)] == [True]


def test_the_store_is_down_when_one_partition_is_and_each_fault_is_told_once(told: Told) -> None:
    for handle in told.handlers:
        handle(UP)
    told.events.clear()
    told.handlers[0](DOWN)
    told.handlers[1](DOWN)
    told.handlers[2](StoreChanged(up=False, detail="h:2: gone"))
    told.handlers[2](StoreNoted("store_down", "h:1: gone"))
    assert told.events == [DOWN, StoreNoted("store_down", "h:1: gone"), StoreNoted("store_down", "h:2: gone")]
    for handle in told.handlers[:2]:
        handle(UP)
    assert len(told.events) == 3
    told.handlers[2](UP)
    assert isinstance(told.events[-1], StoreChanged)
    assert told.events[-1].up


def test_the_same_note_of_several_partitions_is_told_once_a_minute(told: Told) -> None:
    note = StoreNoted("revocations_lost", "some")
    for handle in told.handlers:
        handle(note)
    told.handlers[0](StoreNoted("revocations_lost", "others"))
    assert told.events == [note, StoreNoted("revocations_lost", "others")]
    told.now += 61
    told.handlers[1](note)
    assert told.events[2:] == [note]


def test_writes_are_refused_while_one_partition_refuses_them(told: Told) -> None:
    refused, again = StoreNoted("store_not_writable", "full"), StoreNoted("store_writable", "again")
    told.handlers[0](refused)
    told.handlers[1](refused)
    told.handlers[0](again)
    assert told.events == [refused]
    told.handlers[1](again)
    assert told.events == [refused, again]
