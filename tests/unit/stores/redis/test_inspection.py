"""What an operator is told to do about a fault of Redis: `tests/e2e/test_doctor.py` has real ones."""

import socket
import ssl

import pytest
from redis._parsers.base import BaseParser

from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host
from sidecar.stores.redis.inspection import Inspection, remedy_of, speaks_no_tls
from tests.support.redis import RedisServer, free_port

ANSWERS = {
    "WRONGPASS invalid username-password pair": "password in store.url",
    "NOAUTH Authentication required.": "password in store.url",
    "NOPERM no permissions": "docs/guarantees.md",
    "LOADING Redis is loading": "wait until Redis has loaded",
    "READONLY You can't write": "primary in store.url",
    "OOM command not allowed": "maxmemory",
    "MISCONF Errors writing": "cannot save to its disk",
    "NOREPLICAS Not enough good replicas": "min-replicas-to-write",
    "CLUSTERDOWN down": "CLUSTER INFO",
    "MOVED 1 10.0.0.1:6379": "redis+cluster://",
    "ERR what": "see what Redis says",
}
ERRORS = {
    ConnectionRefusedError(): "start Redis",
    ConnectionResetError(): "rediss://",
    FileNotFoundError(): "path in store.url",
    PermissionError(): "rights",
    socket.gaierror(): "name servers",
    TimeoutError(): "firewall",
    ssl.SSLCertVerificationError(): "ssl_ca_certs",
    ssl.SSLError(): "speaks no TLS",
    OSError(): "host and port",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_has_a_remedy(answer: str) -> None:
    fault = StoreUnavailable("h:1")
    fault.__cause__ = BaseParser.parse_error(answer)
    assert ANSWERS[answer] in remedy_of(fault)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_the_system_has_a_remedy_behind_that_of_the_library(error: OSError) -> None:
    fault, library = StoreUnavailable("h:1"), RuntimeError()
    fault.__cause__, library.__context__ = library, error
    assert ERRORS[error] in remedy_of(fault)


def test_a_fault_without_a_cause_has_one_too() -> None:
    assert "store.url" in remedy_of(StoreUnavailable("h:1"))


@pytest.mark.parametrize(
    ("version", "old"),
    [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.0.15", False), ("", False), ("x.y", False)],
)
def test_which_version_is_too_old(version: str, old: bool) -> None:
    assert Inspection(place="h:1", info={"redis_version": version}).too_old is old


async def test_a_server_without_tls_is_recognised_also_when_it_wants_a_password() -> None:
    with RedisServer(password="secret") as server:
        assert await speaks_no_tls(Host("127.0.0.1", server.port), 5.0)
    assert not await speaks_no_tls(Host("127.0.0.1", free_port()), 5.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not await speaks_no_tls(Host("127.0.0.1", silent.getsockname()[1]), 0.1)
