"""Whether a Redis server may forget what it was told, by what it says about itself."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Risk(NamedTuple):
    """Why a server may forget revocations, and what to do about it."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}"


def risks_of_forgetting(info: Mapping[str, Any]) -> list[Risk]:
    """Empty if the server says nothing to worry about. `info` is the answer to INFO, parsed by redis-py. What is missing in it
    is unknown, and no reason to warn. A replica is not judged."""
    return [risk for risk in (_eviction(info), _crash(info)) if risk is not None]


def _eviction(info: Mapping[str, Any]) -> Risk | None:
    policy = info.get("maxmemory_policy", "noeviction")
    limited = info.get("maxmemory", 0) not in (0, "0")
    if not limited or policy == "noeviction":
        return None
    return Risk(
        f"maxmemory-policy is {policy}, so Redis may evict revocations",
        "set it to noeviction in the configuration of Redis",
    )


def _crash(info: Mapping[str, Any]) -> Risk | None:
    if info.get("role") != "master" or info.get("connected_slaves", 1) != 0:
        return None
    appending = info.get("aof_enabled", 1) != 0
    if appending and info.get("aof_last_write_status", "ok") == "ok":
        return None
    if appending:
        text = "writes to the append-only file fail, and there is no replica, so a crash loses revocations"
        return Risk(text, "see the log of Redis, or add a replica")
    failed = ", and the last snapshot failed" if info.get("rdb_last_bgsave_status", "ok") != "ok" else ""
    text = f"there is neither an append-only file nor a replica{failed}, so a crash loses revocations since the last snapshot"
    return Risk(text, "set appendonly yes in the configuration of Redis, or add a replica")
