"""What a worker sends, and what is refused of it."""

import json
from typing import Any

import pytest

from sidecar.ops.console.facts import Tally, is_tally, is_worker, packed, read_tally, read_worker, together
from tests.support.console import facts, refusals, worker

WORKER = worker(7, Tally({"admitted 200": 3}, {"protected expired": 1}), refusals=refusals())


def test_a_worker_reads_back_from_json() -> None:
    assert read_worker(json.loads(json.dumps(packed(WORKER)))) == WORKER
    assert read_tally(json.loads(json.dumps(packed(WORKER.tally)))) == WORKER.tally


@pytest.mark.parametrize("name", packed(WORKER))
def test_another_shape_is_refused(name: str) -> None:
    body: dict[str, Any] = packed(WORKER)
    assert is_worker(body)
    assert not is_worker({**body, name: {"x": "y"}})
    assert not is_worker({key: value for key, value in body.items() if key != name})


@pytest.mark.parametrize("body", [None, [], {}, {"requests": {}}, {"requests": {"a": "x"}, "failures": {}}])
def test_no_tally_is_refused(body: object) -> None:
    assert not is_tally(body)


def test_the_refusals_of_all_workers_come_together() -> None:
    first, *rest = refusals()
    shown = facts(workers=[worker(1, refusals=rest), worker(2, refusals=[first])])
    assert shown.refusals == refusals()


def test_the_later_use_counts() -> None:
    assert together({"a": 1.0, "b": 5.0}, {"a": 2.0, "c": 1.0}) == {"a": 2.0, "b": 5.0, "c": 1.0}
