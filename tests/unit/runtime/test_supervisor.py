"""What parent and worker say to each other, when one of them goes away."""

import asyncio
import contextlib
import select
import socket
from typing import Any

import pytest
import uvloop

from sidecar.runtime.supervisor import Child, _answer


class Asked:
    """A worker as far as `_answer` knows it."""

    def __init__(self) -> None:
        self.stopped = False
        self.app = self.metrics = self

    def snapshot(self) -> dict[str, Any]:
        return {"n": 1}

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("unread", [False, True])
def test_a_worker_whose_parent_is_gone_stops_also_when_an_answer_was_never_read(unread: bool) -> None:
    """An answer that is left unread makes the end of the pair an error."""

    async def main() -> bool:
        ours, theirs = socket.socketpair()
        worker: Any = Asked()
        task = asyncio.get_running_loop().create_task(_answer(worker, theirs))
        if unread:
            ours.send(b"snapshot\n")
            await asyncio.to_thread(select.select, [ours], [], [], 10)
        ours.close()
        await asyncio.wait([task], timeout=10)
        with contextlib.suppress(OSError):
            await task
        return bool(worker.stopped)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())


def test_a_child_that_is_gone_gives_no_answer() -> None:
    """Also to a parent that asks it again before it has noticed its end."""

    async def main() -> list[object]:
        ours, theirs = socket.socketpair()
        child = object.__new__(Child)
        child._socket, child._lock, child.last_snapshot = ours, asyncio.Lock(), None
        await child.started()
        theirs.close()
        answers: list[object] = [await child.ask("ready")]
        assert child._writer is not None
        child._writer.close()
        answers += [await child.ask("ready"), await child.ask("snapshot")]
        return answers

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [None, None, None]
