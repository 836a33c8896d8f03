"""What clients see while Redis or the network to it fails. Real processes; every kind of client asks every worker all the time.

Invariants (`tests.support.probes`): no token is admitted later than `store.max_staleness` after its revocation was confirmed, nor
by a worker that has refused it; no invalid token is admitted, and no valid one gets 401; public routes and new tokens never
suffer from the store; everything is well again by itself within 10 s.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.probes import Probes
from tests.support.redis import RedisServer
from tests.support.topologies import ClusterSet, SentinelSet
from tests.support.waiting import wait_until
from tests.support.world import QUICK, World, told, world

pytestmark = pytest.mark.timeout(120)
Fault = Callable[[World], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def killed(it: World) -> Iterator[None]:
    """`kill -9`, and a start with what it has written to its disk: nothing, unless it persists."""
    it.redis.kill()
    yield
    it.redis.start()


@contextlib.contextmanager
def stopped(it: World) -> Iterator[None]:
    it.redis.pause()
    yield
    it.redis.resume()


@contextlib.contextmanager
def flushed(it: World) -> Iterator[None]:
    it.redis.command("FLUSHALL")
    yield


@contextlib.contextmanager
def full(it: World) -> Iterator[None]:
    it.redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    yield
    it.redis.command("CONFIG", "SET", "maxmemory", "0")


@contextlib.contextmanager
def read_only(it: World) -> Iterator[None]:
    """It becomes a replica, by order."""
    with RedisServer() as other:
        other.command("REPLICAOF", "127.0.0.1", it.redis.port)
        wait_until(lambda: other.command("ROLE")[3] == b"connected")
        other.command("REPLICAOF", "NO", "ONE")
        it.redis.command("REPLICAOF", "127.0.0.1", other.port)
        wait_until(lambda: it.redis.command("ROLE")[3] == b"connected")
        yield
        it.redis.command("REPLICAOF", "NO", "ONE")


def delayed(seconds: float) -> Fault:
    """So long each way."""

    @contextlib.contextmanager
    def fault(it: World) -> Iterator[None]:
        it.link.delay = seconds
        yield
        it.link.heal()

    return fault


def reset_every(seconds: float) -> Fault:
    """Every connection is reset again and again."""

    @contextlib.contextmanager
    def fault(it: World) -> Iterator[None]:
        over = threading.Event()

        def cut() -> None:
            while not over.wait(seconds):
                it.link.cut()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)

    return fault


@contextlib.contextmanager
def split(it: World) -> Iterator[None]:
    """Each byte comes by itself."""
    it.link.split = True
    yield
    it.link.heal()


@contextlib.contextmanager
def black_hole(it: World) -> Iterator[None]:
    """Connections are accepted and bytes taken, and nothing is answered, on old connections and on new ones."""
    it.link.swallow()
    yield
    it.link.heal()


@contextlib.contextmanager
def half_open(it: World) -> Iterator[None]:
    """The connections that there are lead nowhere, and nobody says so; new ones work."""
    it.link.strand()
    yield


@contextlib.contextmanager
def answers_held(it: World) -> Iterator[None]:
    """Redis gets and runs every command, and its answers come when it is over."""
    it.link.hold()
    yield
    it.link.heal()


FAULTS: Final[dict[str, tuple[Fault, Sequence[str]]]] = {
    "Redis killed, started empty": (killed, ("400",)),
    "Redis killed, started with its data": (killed, ()),
    "Redis stopped (SIGSTOP)": (stopped, ()),
    "`FLUSHALL`": (flushed, ("400",)),
    "Redis out of memory": (full, ()),
    "Redis read-only (`REPLICAOF`)": (read_only, ()),
    "50 ms each way to Redis": (delayed(0.05), ()),
    "500 ms each way to Redis": (delayed(0.5), ()),
    "1500 ms each way to Redis": (delayed(1.5), ()),
    "all connections to Redis reset every 100 ms": (reset_every(0.1), ()),
    "all connections to Redis reset every 1 s": (reset_every(1.0), ()),
    "bytes from and to Redis one by one": (split, ()),
    "black hole in the place of Redis": (black_hole, ()),
    "connections to Redis half open": (half_open, ()),
    "answers of Redis held back": (answers_held, ()),
}
"""A fault, and what a refresh may get besides: 400 when Redis has lost its data, so that the client begins again."""
IN_SHORT: Final = [
    ("Redis killed, started empty", 2),
    ("Redis stopped (SIGSTOP)", 2),
    ("500 ms each way to Redis", 1),
    ("black hole in the place of Redis", 2),
]


def observe(name: str, it: World, probes: Probes, fault: Fault, seconds: float) -> None:
    with probes:
        probes.settle()
        begun = probes.begin()
        with fault(it):
            probes.lasts(seconds)
        recovery = probes.recover()
        assert len(probes.workers("revoked", begun)) == it.config["workers"], "each of them was asked"
    told(f"{name}, {it.config['workers']} w.", probes, recovery)
    assert probes.faults == []
    it.sidecar.ready()


def run(folder: Path, name: str, workers: int, seconds: float, store: dict[str, Any] | None = None) -> None:
    fault, refresh = FAULTS[name]
    options = ("--appendonly", "yes") if name.endswith("with its data") else ()
    with (
        RedisServer(*options) as redis,
        world(folder, workers=workers, servers=redis, linked=True, store=store) as it,
    ):
        observe(name, it, it.probes(extra={"refresh": refresh}), fault, seconds)


@pytest.mark.parametrize(("name", "workers"), IN_SHORT)
def test_a_fault_that_is_over_soon(tmp_path: Path, name: str, workers: int) -> None:
    run(tmp_path, name, workers, 3, QUICK)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_lasts(tmp_path: Path, name: str, workers: int) -> None:
    """With the default limits, and for longer than the view may be stale."""
    run(tmp_path, name, workers, 8)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", ["kill", "pause"])
@pytest.mark.parametrize("kind", [SentinelSet, ClusterSet])
def test_a_primary_that_fails(
    tmp_path: Path, kind: type[SentinelSet] | type[ClusterSet], fault: str, workers: int
) -> None:
    """Until the others have agreed on another primary, it is a matter of Redis. From then on the 10 s count."""
    with kind() as servers, world(tmp_path, workers=workers, servers=servers) as it:

        @contextlib.contextmanager
        def failing(_: World) -> Iterator[None]:
            gone = servers.primary if isinstance(servers, SentinelSet) else servers.primary_of("{sidecar-0-0}")
            getattr(gone, fault)()
            yield
            if isinstance(servers, SentinelSet):
                wait_until(lambda: servers.primary is not gone, within=30)
            else:
                wait_until(lambda: len(servers.primaries) == 3 and servers.healthy(replicas=0), within=30)

        name = (
            f"{'Sentinel' if kind is SentinelSet else 'Cluster'}: primary {'killed' if fault == 'kill' else 'stopped'}"
        )
        observe(name, it, it.probes(extra={"refresh": ["400"]}), failing, 0)
