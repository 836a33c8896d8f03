"""ops.snapshots: what processes have counted adds up, and never decreases."""

from typing import Any

import pytest

from sidecar.ops.catalogue import BOUNDS
from sidecar.ops.snapshots import Accumulator, collected, is_snapshot, merge, snapshot, without_gauges

LAG = "sidecar_event_loop_lag_seconds"
ONE = snapshot(
    counters={"a": {"x": 1, "y": 2}},
    histograms={LAG: {"": [*([1] * (len(BOUNDS) + 1)), 0.5]}},
    times={"t": {"x": 5.0}},
    gauges={"g": {"": 7}},
)
OTHER = snapshot(
    counters={"a": {"y": 3, "z": 4}, "b": {"": 1}}, times={"t": {"x": 4.0, "y": 1.0}}, gauges={"g": {"": 8}}
)


def test_counts_are_added_and_the_latest_time_wins() -> None:
    both = merge(ONE, OTHER)
    assert both["counters"] == {"a": {"x": 1, "y": 5, "z": 4}, "b": {"": 1}}
    assert both["times"] == {"t": {"x": 5.0, "y": 1.0}}
    assert both["histograms"] == ONE["histograms"]
    assert merge(ONE, ONE)["histograms"][LAG][""][-1] == 1.0
    assert ONE["counters"] == {"a": {"x": 1, "y": 2}}, "neither is changed"


def test_gauges_are_collected_not_added() -> None:
    assert collected([ONE, OTHER, without_gauges(ONE)]) == {"g": {"": [7, 8]}}


def test_the_past_keeps_counts_only() -> None:
    past = Accumulator()
    assert past.snapshots() == []
    past.add(None)
    for each in (ONE, OTHER, ONE):
        past.add(each)
    (kept,) = past.snapshots()
    assert (kept["counters"]["a"], kept["gauges"]) == ({"x": 2, "y": 7, "z": 4}, {})


def test_a_snapshot_has_a_shape() -> None:
    assert is_snapshot(ONE)
    assert is_snapshot(snapshot())


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {**ONE, "more": {}},
        {**ONE, "counters": [1]},
        {**ONE, "counters": {"a": 1}},
        {**ONE, "counters": {"a": {"x": "1"}}},
        {**ONE, "gauges": {"a": {"x": None}}},
        {**ONE, "histograms": {LAG: {"": [1, 2]}}},
        {**ONE, "histograms": {LAG: {"": ["1"] * (len(BOUNDS) + 2)}}},
        {**ONE, "histograms": {"unknown": {"": [1, 2]}}},
    ],
)
def test_what_could_not_be_added_up_is_none(wrong: Any) -> None:
    assert not is_snapshot(wrong)
