"""What clients see while a process of the sidecar, or the API, is killed or stands still.

As in `test_faults_of_redis`, every kind of client asks every worker all the time, no revoked or invalid token is admitted, no
valid one gets 401, and all is well within 10 s.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.probes import LOST
from tests.support.process import Sidecar
from tests.support.waiting import wait_until
from tests.support.world import QUICK, World, told, world

pytestmark = pytest.mark.timeout(120)
QUICK_API = {"timeouts": {"response": "1s", "connect": "1s"}}


def all_replaced(it: World, before: list[int]) -> bool:
    now = it.sidecar.workers()
    return len(now) == len(before) and set(now) != set(before)


def test_a_worker_is_killed(tmp_path: Path) -> None:
    """Who was connected to it is cut; the other one serves all the time."""
    with world(tmp_path, workers=2, store=QUICK) as it, it.probes(everywhere=["cut"]) as probes:
        probes.settle()
        workers = it.sidecar.workers()
        begun = probes.begin()
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: all_replaced(it, workers))
        it.sidecar.ready()
        recovery = probes.recover()
        assert {workers[1]} < probes.workers("revoked", begun)
    told("a worker killed, 2 w.", probes, recovery)
    assert probes.faults == []


@pytest.mark.faults
@pytest.mark.parametrize("limit", ["2s", "10s"])
def test_a_worker_is_stopped(tmp_path: Path, limit: str) -> None:
    """Its clients wait; who connects again gets the other one. The parent replaces it after `workers_timeout`."""
    with (
        world(tmp_path, workers=2, store=QUICK, workers_timeout=limit) as it,
        it.probes(everywhere=["cut", "silent"]) as probes,
    ):
        probes.settle()
        workers = it.sidecar.workers()
        probes.begin()
        os.kill(workers[0], signal.SIGSTOP)
        it.sidecar.record("worker_hung", within=20)
        wait_until(lambda: all_replaced(it, workers))
        it.sidecar.ready()
        recovery = probes.recover()
    told(f"a worker stopped, workers_timeout {limit}, 2 w.", probes, recovery)
    assert probes.faults == []


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.faults), 2])
def test_the_process_is_killed_and_a_successor_started(tmp_path: Path, workers: int) -> None:
    """With several workers, they let go of the port when their parent is gone."""
    with world(tmp_path, workers=workers, store=QUICK) as it, it.probes(everywhere=LOST) as probes:
        probes.settle()
        probes.begin()
        old = it.sidecar
        old.kill()
        it.sidecar = Sidecar(tmp_path, it.config)
        recovery = probes.recover()
        it.sidecar.ready()
        old.stop(expect=-signal.SIGKILL)
    told(f"the process killed and started again, {workers} w.", probes, recovery)
    assert probes.faults == []


@pytest.mark.faults
def test_the_parent_is_stopped(tmp_path: Path) -> None:
    """Nobody notices, and when it goes on it kills no worker, although none was heard for longer than `workers_timeout`."""
    with world(tmp_path, workers=2, workers_timeout="3s") as it, it.probes() as probes:
        probes.settle()
        workers = it.sidecar.workers()
        probes.begin()
        it.sidecar.process.send_signal(signal.SIGSTOP)
        probes.lasts(8)
        it.sidecar.process.send_signal(signal.SIGCONT)
        recovery = probes.recover()
        it.sidecar.ready()
        assert it.sidecar.workers() == workers
    told("the parent stopped, 2 w.", probes, recovery)
    assert probes.faults == []


@contextmanager
def killed(it: World) -> Iterator[None]:
    it.api.kill()
    yield
    it.api.start()


@contextmanager
def stopped(it: World) -> Iterator[None]:
    it.api.pause()
    yield
    it.api.resume()


@pytest.mark.parametrize(
    ("fault", "workers"),
    [
        (killed, 1),
        *(pytest.param(*each, marks=pytest.mark.faults) for each in ((killed, 2), (stopped, 1), (stopped, 2))),
    ],
)
def test_the_api_fails(tmp_path: Path, fault: Callable[[World], AbstractContextManager[None]], workers: int) -> None:
    """502 when it is gone, 504 when it stands still; the sidecar's own answers stay what they are."""
    code = "502" if fault is killed else "504"
    extra = {"valid": ["502", code], "public": ["502", code]}
    with world(tmp_path, workers=workers, store=QUICK, **QUICK_API) as it, it.probes(extra=extra) as probes:
        probes.settle()
        probes.begin()
        with fault(it):
            probes.lasts(3)
        recovery = probes.recover()
        assert code in probes.summary("valid")
    told(f"the API {fault.__name__}, {workers} w.", probes, recovery)
    assert probes.faults == []


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
def test_the_api_is_killed_and_started_again_and_again(tmp_path: Path, workers: int) -> None:
    with (
        world(tmp_path, workers=workers, **QUICK_API) as it,
        it.probes(extra={"valid": ["502"], "public": ["502"]}) as probes,
    ):
        probes.settle()
        probes.begin()
        for _ in range(6):
            with killed(it):
                probes.lasts(0.3)
            probes.lasts(0.3)
        recovery = probes.recover()
    told(f"the API restarted six times, {workers} w.", probes, recovery)
    assert probes.faults == []
