"""What is made of what Redis says: `tests/e2e/test_doctor.py` has real servers."""

from typing import Any

import pytest

from sidecar.config.settings import Store
from sidecar.core.ports import StoreUnavailable
from sidecar.core.store_address import Host
from sidecar.doctor.findings import Finding
from sidecar.doctor.store import of_partitions, of_sentinels, of_servers
from sidecar.stores.redis.inspection import Inspection

INFO: dict[str, Any] = {
    "redis_version": "7.2.1",
    "role": "master",
    "connected_slaves": 1,
    "maxmemory_policy": "noeviction",
}


def server(**different: Any) -> Inspection:
    return Inspection(**{"place": "h:1", "round_trip": 0.001, "skew": 0.0, "info": INFO, "entries": 2, **different})


def found(*outcomes: Inspection | StoreUnavailable) -> dict[str, Finding]:
    return {each.check: each for each in reversed(of_servers(outcomes, Store(), 0.0))}


def test_a_good_server() -> None:
    seen = found(server())
    assert {each.status.value for each in seen.values()} == {"ok"}
    assert seen["store"].found == "Redis 7.2.1 at h:1, primary, answers within 1.0 ms"


@pytest.mark.parametrize(
    ("different", "check", "status", "text"),
    [
        ({"info": {**INFO, "redis_version": "6.0.16"}}, "store", "failed", "Redis 6.0.16"),
        ({"info": {}}, "store data", "skipped", "+info"),
        ({"round_trip": 0.6}, "store", "warning", "600.0 ms"),
        ({"refused": ("xadd", "zadd")}, "store rights", "failed", "xadd, zadd"),
        ({"refused": ("xadd",)}, "store clock", "skipped", "rights"),
        ({"fault_of_writes": StoreUnavailable("h:1: full")}, "store writes", "failed", "h:1: full"),
        ({"info": {**INFO, "maxmemory": 1, "maxmemory_policy": "allkeys-lru"}}, "store data", "warning", "allkeys-lru"),
        ({"skew": 2.1}, "store clock", "warning", "2.1 s ahead"),
        ({"skew": -9.0}, "store clock", "warning", "9.0 s behind"),
        ({"skew": 1.9}, "store clock", "ok", "1.9 s ahead"),
    ],
)
def test_a_server_that_is_not_as_it_should_be(different: dict[str, Any], check: str, status: str, text: str) -> None:
    finding = found(server(**different))[check]
    assert finding.status.value == status
    assert text in finding.found
    assert bool(finding.remedy) is (status in ("warning", "failed"))


def test_without_an_answer_the_rest_is_skipped() -> None:
    seen = found(StoreUnavailable("h:1: no connection"))
    assert seen.pop("store").status.value == "failed"
    assert {each.status.value for each in seen.values()} == {"skipped"}


def test_partitions_are_counted_together() -> None:
    seen = found(
        server(), server(), server(place="h:2", skew=3.0), StoreUnavailable("h:3: away"), StoreUnavailable("h:3: away")
    )
    assert seen["store revocations"].found == "6 kept in Redis"
    assert "h:2 is 3.0 s" in seen["store clock"].found
    assert seen["store"].found == "h:3: away (2 of 5 partitions)"


A, B = Host("a", 1), Host("b", 1)
S = [Host("s", number) for number in range(3)]
AWAY = StoreUnavailable("s:9: no connection")


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [
        ((A, A, A), "ok", "3 of 3 name a:1"),
        ((A, A, AWAY), "warning", "2 of 3 name a:1; s:9: no connection"),
        ((A, A, B), "warning", "s:2 names b:1"),
        ((A, A, None), "warning", "s:2 names none"),
        ((A, AWAY, AWAY), "failed", "no majority"),
        ((None, None, AWAY), "failed", "no primary of svc"),
        ((AWAY, AWAY, AWAY), "failed", "none of 3 answers"),
    ],
)
def test_sentinels(answers: tuple[Any, ...], status: str, text: str) -> None:
    finding = of_sentinels(dict(zip(S, answers, strict=True)), "svc")
    assert finding.status.value == status
    assert text in finding.found
    assert bool(finding.remedy) is (status != "ok")


@pytest.mark.parametrize(
    ("recorded", "status", "text"),
    [
        (["2", "2"], "ok", "all 2 have a primary that answers"),
        (["", ""], "ok", "recorded at the first start"),
        (["4", "4"], "failed", "has 4 partitions"),
        (["2"], "failed", "1 of 2"),
        ([], "skipped", "no partition"),
    ],
)
def test_the_number_of_partitions(recorded: list[str], status: str, text: str) -> None:
    finding = of_partitions(recorded, 2)
    assert finding.status.value == status
    assert text in finding.found
