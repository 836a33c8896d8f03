"""ops.exposition: one valid text for several processes."""

import re
import subprocess

from sidecar.ops.catalogue import COUNTERS, GAUGES, HISTOGRAMS, TIMES, key
from sidecar.ops.exposition import render
from sidecar.ops.snapshots import Numbers, snapshot


def shown(text: bytes) -> dict[str, str]:
    """Each sample, as it is written, and its value."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def gauges(**values: Numbers) -> dict[str, str]:
    return shown(render([snapshot(gauges=each) for each in values.values()]))


def test_without_any_process_there_is_still_an_exposition() -> None:
    assert [name.partition("{")[0] for name in shown(render([]))] == ["sidecar_build_info"]


def test_every_metric_with_every_label_passes_promtool() -> None:
    """Also when a label holds what must be escaped."""
    odd = 'a"b\\c\nd e'
    full = snapshot(
        counters={
            family.name: dict.fromkeys((*family.present, key(*[odd] * len(family.labels))), 1) for family in COUNTERS
        },
        histograms={
            family.name: {key(*[odd] * len(family.labels)): [1] * (len(family.bounds) + 2)} for family in HISTOGRAMS
        },
        times={family.name: {key(*[odd] * len(family.labels)): 1.0} for family in TIMES},
        gauges={family.name: {key(*[odd] * len(family.labels)): 1.0} for family in GAUGES},
    )
    text = render([full, full])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    names = {re.split(r"[{ ]", line)[0] for line in shown(text)}
    for family in (*COUNTERS, *GAUGES, *TIMES):
        assert family.name in names
    for family in HISTOGRAMS:
        assert {f"{family.name}_{part}" for part in ("bucket", "sum", "count")} <= names


def test_a_metric_without_a_series_is_named_all_the_same() -> None:
    """So that whoever looks for it sees that it exists."""
    text = render([snapshot(gauges={"sidecar_upstream_fault": {}})]).decode()
    assert "# TYPE sidecar_upstream_fault gauge" in text
    assert "\nsidecar_upstream_fault" not in text


def test_gauges_of_several_processes_become_one() -> None:
    found = gauges(
        a={
            "sidecar_connections": {"": 3},
            "sidecar_store_up": {"": 1},
            "sidecar_store_clock_skew_seconds": {"": -4.0},
            "sidecar_upstream_up": {"http://a:1": 1, "http://b:1": 1},
        },
        b={
            "sidecar_connections": {"": 4},
            "sidecar_store_up": {"": 0},
            "sidecar_store_clock_skew_seconds": {"": 1.0},
            "sidecar_upstream_up": {"http://a:1": 0},
        },
    )
    assert found["sidecar_connections"] == "7.0"
    assert found["sidecar_store_up"] == "0.0"
    assert found["sidecar_store_clock_skew_seconds"] == "-4.0"
    assert found['sidecar_upstream_up{address="http://a:1"}'] == "0.0"
    assert found['sidecar_upstream_up{address="http://b:1"}'] == "1.0"


def test_a_view_that_was_never_loaded_is_infinitely_stale() -> None:
    found = gauges(a={"sidecar_revocation_feed_staleness_seconds": {"": float("inf")}})
    assert found["sidecar_revocation_feed_staleness_seconds"] == "+Inf"


def usage(process: str, *, cpu: float, resident: float, opened: float, most: float, begun: float) -> list[Numbers]:
    names = ("resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds")
    values = zip(names, (resident, opened, most, begun), strict=True)
    return [
        {"sidecar_process_cpu_seconds_total": {process: cpu}},
        {f"sidecar_process_{name}": {process: value} for name, value in values},
    ]


def test_the_standard_metrics_of_a_process_are_those_of_all_processes() -> None:
    """Times and memory add up, the oldest tells the start, and descriptors are of the one that runs out first."""
    parts = [
        usage("parent", cpu=1, resident=10, opened=8, most=1000, begun=100),
        usage("worker-0", cpu=2, resident=20, opened=90, most=1000, begun=200),
        usage("worker-1", cpu=4, resident=40, opened=80, most=100, begun=150),
    ]
    found = shown(render([snapshot(counters=counters, gauges=gauges) for counters, gauges in parts]))
    assert found["process_cpu_seconds_total"] == "7.0"
    assert found["process_resident_memory_bytes"] == "70.0"
    assert found["process_start_time_seconds"] == "100.0"
    assert (found["process_open_fds"], found["process_max_fds"]) == ("80.0", "100.0")
    assert found['sidecar_process_open_fds{process="worker-0"}'] == "90.0"
    assert found['sidecar_process_cpu_seconds_total{process="parent"}'] == "1.0"
