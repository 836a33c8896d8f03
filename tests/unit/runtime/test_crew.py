"""runtime.crew: the answers of several workers. With real ones: tests/e2e/test_console.py."""

from collections import Counter
from typing import Any, cast

from sidecar.ops.catalogue import Replaced
from sidecar.ops.console.facts import Tally, WorkerFacts
from sidecar.ops.metrics import Metrics
from sidecar.ops.snapshots import Readings
from sidecar.runtime.child import Child
from sidecar.runtime.crew import last_tally, several
from tests.support.console import worker


class Answers:
    """A child that answers, or does not."""

    def __init__(self, pid: int | None, facts: WorkerFacts | None, tally: Tally | None) -> None:
        self.pid = pid
        self.last_counts: Any = None
        self._facts, self._tally = facts, tally
        self.then = lambda: None

    async def facts(self) -> WorkerFacts | None:
        return self._facts

    async def tally(self) -> Tally | None:
        self.then()
        return self._tally


async def test_those_who_answer_are_shown() -> None:
    one, tally = worker(1), Tally({"admitted 200": 1}, {})
    children = [Answers(1, one, tally), Answers(2, None, None), Answers(None, None, tally)]
    replaced: Counter[Replaced] = Counter(["died"])
    crew = several(lambda: cast("list[Child]", children), lambda: True, 3, replaced, lambda: "no thread")
    assert await crew.facts() == [one]
    assert await crew.tallies() == {1: tally}
    assert (crew.wanted, crew.replaced(), crew.cannot_start(), crew.draining()) == (3, {"died": 1}, "no thread", True)
    replaced["died"] += 1
    assert crew.replaced() == {"died": 2}


async def test_one_that_ends_meanwhile_does_not_count_twice() -> None:
    children = [Answers(1, None, Tally({}, {}))]
    children[0].then = children.clear
    crew = several(lambda: cast("list[Child]", children), lambda: False, 1, Counter[Replaced](), lambda: None)
    assert await crew.tallies() == {}


def test_the_last_counts_are_those_that_a_worker_gave_at_its_end() -> None:
    child = Answers(1, None, None)
    assert last_tally(cast("Child", child)) is None
    child.last_counts = Metrics(lambda: Readings({}, {})).snapshot()
    assert last_tally(cast("Child", child)) == Tally({}, {})
