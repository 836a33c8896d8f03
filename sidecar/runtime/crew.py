"""What the parent of several workers asks them for the console."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from sidecar.ops.catalogue import Replaced
from sidecar.ops.console.facts import Tally, WorkerFacts, tally_of
from sidecar.runtime.child import Child
from sidecar.runtime.console import Crew


def several(
    children: Callable[[], Iterable[Child]],
    draining: Callable[[], bool],
    wanted: int,
    replaced: Mapping[Replaced, int],
    cannot_start: Callable[[], str | None],
) -> Crew:
    """The crew of a parent. `children` gives its present workers."""

    async def facts() -> list[WorkerFacts]:
        answers = await asyncio.gather(*(child.facts() for child in children()))
        return [answer for answer in answers if answer is not None]

    async def tallies() -> dict[int, Tally]:
        asked = list(children())
        answers = await asyncio.gather(*(child.tally() for child in asked))
        # One that has ended meanwhile was counted at its end.
        present = set(children())
        return {
            child.pid: answer
            for child, answer in zip(asked, answers, strict=True)
            if answer is not None and child.pid is not None and child in present
        }

    def ended() -> dict[str, int]:
        return {str(cause): count for cause, count in replaced.items()}

    return Crew(facts, tallies, draining, wanted, ended, cannot_start)


def last_tally(child: Child) -> Tally | None:
    """What a worker that has ended has counted, if it has said so at its end."""
    counted = child.last_counts
    return None if counted is None else tally_of(counted["counters"])
