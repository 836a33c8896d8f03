"""ops.process: what the system says about this process."""

import os
import time
from pathlib import Path

import pytest

from sidecar.ops.process import Process


def value(process: Process, name: str) -> float:
    readings = process.readings()
    found = {**readings.counters, **readings.gauges}[f"sidecar_process_{name}"]
    assert found.keys() == {"worker-3"}
    return found["worker-3"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_this_process_is_measured() -> None:
    process = Process("worker-3")
    before = value(process, "cpu_seconds_total")
    while value(process, "cpu_seconds_total") <= before:
        pass
    assert value(process, "virtual_memory_bytes") > value(process, "resident_memory_bytes") > 1_000_000
    assert 0 < value(process, "open_fds") <= value(process, "max_fds")
    assert abs(value(process, "start_time_seconds") - time.time()) < 86_400


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells")
def test_an_open_file_counts() -> None:
    process = Process("worker-3")
    before = value(process, "open_fds")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    try:
        assert value(process, "open_fds") == before + 20
    finally:
        for each in opened:
            os.close(each)


def test_a_system_that_tells_less_has_fewer_series(tmp_path: Path) -> None:
    readings = Process("worker-3", tmp_path).readings()
    assert readings.counters["sidecar_process_cpu_seconds_total"]["worker-3"] > 0
    assert readings.gauges.keys() == {"sidecar_process_max_fds", "sidecar_process_start_time_seconds"}


def test_a_kernel_before_6_2_has_its_descriptors_counted(tmp_path: Path) -> None:
    """There the folder has the size 0; one of a real file system stands for one that says its size."""
    own = tmp_path / "self"
    own.mkdir()
    (own / "statm").write_text("100 50 3 1 0 9 0\n")
    (own / "fd").mkdir()
    process = Process("worker-3", tmp_path)
    assert value(process, "resident_memory_bytes") == 50 * os.sysconf("SC_PAGE_SIZE")


def test_the_name_of_the_program_does_not_mislead(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").write_text("7 (a) b) S " + " ".join(["0"] * 18) + " 500 0 0\n")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    assert value(Process("worker-3", tmp_path), "start_time_seconds") == 1000 + 500 / os.sysconf("SC_CLK_TCK")
