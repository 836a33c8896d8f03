"""Whether a Redis server may forget what it was told, by what it says about itself."""

from collections.abc import Mapping
from typing import Any


def risk_of_forgetting(info: Mapping[str, Any]) -> str:
    """Why a server may forget revocations, and what to do about it; empty if it says nothing to worry about. `info` is the
    answer to INFO, parsed by redis-py. What is missing in it is unknown, and no reason to warn. A replica is not judged."""
    return "; ".join(filter(None, (_eviction(info), _crash(info))))


def _eviction(info: Mapping[str, Any]) -> str:
    policy = info.get("maxmemory_policy", "noeviction")
    limited = info.get("maxmemory", 0) not in (0, "0")
    if not limited or policy == "noeviction":
        return ""
    return f"maxmemory-policy is {policy}, so Redis may evict revocations: set it to noeviction"


def _crash(info: Mapping[str, Any]) -> str:
    if info.get("role") != "master" or info.get("connected_slaves", 1) != 0:
        return ""
    appending = info.get("aof_enabled", 1) != 0
    if appending and info.get("aof_last_write_status", "ok") == "ok":
        return ""
    if appending:
        return "writes to the append-only file fail, and there is no replica: a crash loses revocations"
    failed = ", and the last snapshot failed" if info.get("rdb_last_bgsave_status", "ok") != "ok" else ""
    return (
        f"there is neither an append-only file nor a replica{failed}: a crash loses what was revoked since the last snapshot; "
        "set appendonly yes, or add a replica"
    )
