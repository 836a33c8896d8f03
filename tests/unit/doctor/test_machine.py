"""What the machine has, against what the configuration needs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load
from sidecar.config.settings import Settings
from sidecar.core.capacity import affordable
from sidecar.doctor.machine import budget, clock, cpus, cpus_usable, descriptors, look, memory
from sidecar.runtime.memory import sizes
from tests.support.process import configuration

MIB = 1024**2


def settings(folder: Path, **sections: Any) -> Settings:
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", **sections)))
    return load(path)


@pytest.mark.parametrize("most", [1024, 4096, 20_000])
def test_the_number_that_is_named_is_enough_and_one_less_is_not(tmp_path: Path, most: int) -> None:
    given = settings(tmp_path)
    finding = descriptors(given, most)
    assert finding.status.value == "warning"
    needed = int(finding.remedy.split()[3])
    assert descriptors(given, needed).status.value == "ok"
    assert f"allows a worker {affordable(20_000, 1024, most - 64)} of" in finding.found


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    assert descriptors(settings(tmp_path), None).found == "no limit"


@pytest.mark.parametrize(
    ("workers", "limit", "status"),
    [
        (1, None, "ok"),
        (1, 50, "failed"),
        (1, 99, "warning"),
        (1, 100, "ok"),
        (4, 250, "failed"),
        (4, 499, "warning"),
        (4, 500, "ok"),
    ],
)
def test_memory(workers: int, limit: int | None, status: str) -> None:
    finding = memory(workers, 50 * MIB, None if limit is None else limit * MIB)
    assert finding.status.value == status
    assert bool(finding.remedy) is (status != "ok")


@pytest.mark.parametrize(
    ("workers", "usable", "status"), [(1, 0.5, "ok"), (2, 2.0, "ok"), (2, 1.5, "ok"), (3, 2.0, "warning")]
)
def test_cpus(workers: int, usable: float, status: str) -> None:
    assert cpus(workers, usable).status.value == status


def test_a_clock_that_was_never_set() -> None:
    assert clock(86400.0).status.value == "failed"
    assert "1970-01-02" in clock(86400.0).found
    assert clock(1_800_000_000.0).status.value == "ok"


def cgroup(folder: Path, line: str, **files: str) -> tuple[Path, Path]:
    process, mount = folder / "proc", folder / "cgroup"
    process.mkdir()
    (process / "cgroup").write_text(line + "\n")
    for name, text in files.items():
        path = mount / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return mount, process


def test_the_lowest_limit_of_the_groups_counts(tmp_path: Path) -> None:
    files = {"a__b__cpuDOTmax": "max 100000", "a__cpuDOTmax": "50000 100000", "cpuDOTmax": "200000 100000"}
    mount, process = cgroup(tmp_path, "0::/a/b", **files)
    assert cpus_usable(mount, process) == 0.5


def test_without_a_limit_every_cpu_counts(tmp_path: Path) -> None:
    mount, process = cgroup(tmp_path, "4:cpu,memory:/a.b", memory__aDOTb__memoryDOTlimit_in_bytes="1024")
    assert cpus_usable(mount, process) >= 1
    assert cpus_usable(tmp_path / "none", process) >= 1
    assert cpus_usable(mount, tmp_path / "none") >= 1


def test_what_is_configured_for_clients_must_be_there() -> None:
    assert budget(64 * 2**20, 100 * 2**20).remedy == ""
    finding = budget(64 * 2**20, 10 * 2**20)
    assert "lower limits.memory" in finding.remedy
    assert "has 10 MiB" in finding.found
    assert "has 0 MiB" in budget(64 * 2**20, -5).found


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    assert [each.check for each in look(settings(tmp_path), 1_800_000_000.0)] == [
        "open files",
        "memory",
        "CPUs",
        "clock",
    ]
    assert sizes()["VmRSS"] > 10 * MIB
    assert sizes(tmp_path) == {}
