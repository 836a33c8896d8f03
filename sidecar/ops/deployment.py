"""What the process that answers `/metrics` knows besides its workers: the configuration, and how many workers there should
be."""

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.ops.catalogue import ReloadResult, Replaced
from sidecar.ops.snapshots import Numbers, Readings, Snapshot, snapshot


class Configuration(NamedTuple):
    """The configuration of a process: whether the last reload succeeded, when the settings in force were read (epoch
    seconds), their digest, and how many reloads there were, by result."""

    successful: bool
    at: float
    digest: int
    reloads: Mapping[ReloadResult, int] = {}


class Parent(NamedTuple):
    """What the parent of several workers counts: its log lines that nobody took, the workers that it replaced, by cause, and
    what the system says about it."""

    log_lines_dropped: int
    replaced: Mapping[Replaced, int]
    process: Readings


def deployment(configuration: Configuration, *, workers: int, draining: bool, parent: Parent | None = None) -> Snapshot:
    """The snapshot of a sidecar that should have so many workers."""
    counters: Numbers = {
        "sidecar_config_reloads_total": {str(result): count for result, count in configuration.reloads.items()},
        "sidecar_workers_replaced_total": {},
    }
    gauges: Numbers = {
        "sidecar_config_last_reload_successful": {"": configuration.successful},
        "sidecar_config_last_reload_success_timestamp_seconds": {"": configuration.at},
        "sidecar_config_hash": {"": configuration.digest},
        "sidecar_workers": {"": 0},
        "sidecar_workers_configured": {"": workers},
        "sidecar_draining": {"": draining},
    }
    if parent is not None:
        counters["sidecar_workers_replaced_total"] = {str(cause): count for cause, count in parent.replaced.items()}
        counters["sidecar_log_lines_dropped_total"] = {"": parent.log_lines_dropped}
        counters |= parent.process.counters
        gauges |= parent.process.gauges
    return snapshot(counters=counters, gauges=gauges)
