"""A redis-server for the tests of a module, and a Sentinel set and a Cluster for all tests; each is emptied before each test."""

from collections.abc import Iterator

import pytest

from tests.support.redis import RedisServer
from tests.support.topologies import ClusterSet, SentinelSet


@pytest.fixture(scope="module")
def redis_process() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    redis_process.command("FLUSHALL")
    return redis_process


@pytest.fixture(scope="session")
def sentinel_processes() -> Iterator[SentinelSet]:
    with SentinelSet() as servers:
        yield servers


@pytest.fixture
def sentinel_set(sentinel_processes: SentinelSet) -> SentinelSet:
    """Nobody fails over this one: it is everybody's."""
    sentinel_processes.flush()
    return sentinel_processes


@pytest.fixture(scope="session")
def cluster_processes() -> Iterator[ClusterSet]:
    with ClusterSet() as servers:
        yield servers


@pytest.fixture
def cluster_set(cluster_processes: ClusterSet) -> ClusterSet:
    """Nobody fails over this one: it is everybody's."""
    cluster_processes.flush()
    return cluster_processes


def address_of(request: pytest.FixtureRequest, kind: str) -> str:
    """The address of an empty store."""
    if kind == "memory":
        return "memory://"
    fixture = {"redis": "redis_server", "sentinel": "sentinel_set", "cluster": "cluster_set"}[kind]
    return str(request.getfixturevalue(fixture).url)
