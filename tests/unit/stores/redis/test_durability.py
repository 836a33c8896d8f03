"""What INFO tells about a server that may forget."""

from typing import Any

import pytest

from sidecar.stores.redis.durability import risks_of_forgetting

SAFE: dict[str, Any] = {
    "maxmemory": 0, "maxmemory_policy": "noeviction", "role": "master", "connected_slaves": 0, "aof_enabled": 1,
    "aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok",
}  # fmt: skip
QUIET: dict[str, dict[str, Any]] = {
    "as it should be": SAFE,
    "nothing known": {},
    "only that it is a primary": {"role": "master"},
    "no limit": {**SAFE, "maxmemory_policy": "allkeys-lru"},
    "a limit": {**SAFE, "maxmemory": 100},
    "a replica to fall back on": {**SAFE, "aof_enabled": 0, "connected_slaves": 1},
    "a replica": {**SAFE, "aof_enabled": 0, "role": "slave"},
    "persistence not known": {"role": "master", "connected_slaves": 0},
}
TOLD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "evicts": ({**SAFE, "maxmemory": 100, "maxmemory_policy": "volatile-ttl"}, ["maxmemory-policy is volatile-ttl"]),
    "forgets in a crash": ({**SAFE, "aof_enabled": 0}, ["neither an append-only file nor a replica, so a crash loses"]),
    "cannot save": ({**SAFE, "aof_enabled": 0, "rdb_last_bgsave_status": "err"}, ["and the last snapshot failed"]),
    "cannot append": ({**SAFE, "aof_last_write_status": "err"}, ["writes to the append-only file fail"]),
    "both": (
        {**SAFE, "aof_enabled": 0, "maxmemory": 1, "maxmemory_policy": "allkeys-lfu"},
        ["allkeys-lfu", "; there is neither"],
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_without_a_reason(case: str) -> None:
    assert risks_of_forgetting(QUIET[case]) == []


@pytest.mark.parametrize("case", TOLD)
def test_a_risk_is_named(case: str) -> None:
    info, words = TOLD[case]
    assert all(each in "; ".join(map(str, risks_of_forgetting(info))) for each in words)
