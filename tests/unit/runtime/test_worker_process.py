"""runtime.worker_process: what a worker says to its parent, also when one of them goes away."""

import asyncio
import contextlib
import select
import socket
from typing import Any

import pytest
import uvloop

from sidecar.config.settings import Settings
from sidecar.ops.metrics import Metrics
from sidecar.ops.snapshots import Readings
from sidecar.runtime.control import Answer, Kind, Question, decode, encode
from sidecar.runtime.reloading import NotApplied
from sidecar.runtime.worker_process import Parent, pack
from tests.support.process import configuration

SNAPSHOT = Metrics(
    lambda: Readings({"sidecar_token_cache_hits_total": {"": 4}}, {"sidecar_tunnels": {"": 3}})
).snapshot()


class Asked:
    """A worker as far as its conversation knows it."""

    def __init__(self) -> None:
        self.stopped = False
        self.app = self.metrics = self

    def snapshot(self) -> dict[str, Any]:
        return SNAPSHOT

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("unread", [False, True])
def test_a_worker_whose_parent_is_gone_stops_also_when_an_answer_was_never_read(unread: bool) -> None:
    """An answer that is left unread makes the end of the pair an error."""

    async def main() -> bool:
        ours, theirs = socket.socketpair()
        worker: Any = Asked()
        task = asyncio.get_running_loop().create_task(Parent(worker).answer(theirs))
        if unread:
            ours.send(encode(Question(Kind.SNAPSHOT, 1)))
            await asyncio.to_thread(select.select, [ours], [], [], 10)
        ours.close()
        await asyncio.wait([task], timeout=10)
        with contextlib.suppress(OSError):
            await task
        return bool(worker.stopped)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())


def test_neither_garbage_nor_a_defect_ends_a_worker_whose_parent_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """It would end the socket, from which the others accept."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        worker: Any = Asked()
        task = loop.create_task(Parent(worker).answer(theirs))
        await loop.sock_sendall(ours, encode(Question(Kind.READY, 1)) + encode(Question(Kind.SNAPSHOT, 2)))
        assert decode(await loop.sock_recv(ours, 10_000)) == Answer(Kind.SNAPSHOT, 2, SNAPSHOT)  # the first is a defect
        await loop.sock_sendall(ours, b"ready\n")
        await asyncio.wait([task], timeout=10)
        assert await loop.sock_recv(ours, 1) == b""
        assert not worker.stopped
        assert task.exception() is None
        ours.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert [vars(record)["where"] for record in caplog.records] == ["ready", "control"]


def test_a_worker_says_that_it_is_alive_whatever_its_parts_do() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        worker: Any = Asked()
        worker.app = None
        task = loop.create_task(Parent(worker).answer(theirs))
        await loop.sock_sendall(ours, encode(Question(Kind.ALIVE, 1)))
        assert decode(await loop.sock_recv(ours, 10_000)) == Answer(Kind.ALIVE, 1, True)
        ours.close()
        await asyncio.wait([task], timeout=10)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_settings_that_a_worker_cannot_prepare_are_refused_and_not_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it says why, or fails."""

    class Refusing(Asked):
        def prepare(self, settings: Settings) -> None:
            raise NotApplied("TLS: no") if settings.workers == 1 else ZeroDivisionError("broken")

    async def answered(workers: int) -> object:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = loop.create_task(Parent(Refusing()).answer(theirs))  # type: ignore[arg-type]
        settings = Settings.model_validate(configuration("http://127.0.0.1:1", workers=workers))
        await loop.sock_sendall(ours, encode(Question(Kind.PREPARE, 1, pack(settings))))
        message = decode(await loop.sock_recv(ours, 10_000))
        ours.close()
        await asyncio.wait([task], timeout=10)
        assert isinstance(message, Answer)
        return message.body

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(answered(1)) == "TLS: no"
        assert "internal_error" in str(runner.run(answered(2)))
    assert [vars(record)["where"] for record in caplog.records] == ["reload"]
