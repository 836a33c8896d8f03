"""runtime.memory: what the surroundings allow, as a container and the system say it."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from sidecar.config.settings import Settings
from sidecar.runtime import memory
from sidecar.runtime.memory import Memory, cgroup_limit, free_memory
from tests.support.settings import changed

MIB: Final = 1024**2
STATUS: Final = "Name:\tpython\nVmSize:\t  409600 kB\nVmRSS:\t   61440 kB\nVmData:\t   81920 kB\nThreads:\t1\n"


class Machine:
    """Files as the kernel shows them, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.cgroups = folder / "cgroup"
        self.process = folder / "self"
        self.write("self/status", STATUS, folder)

    def write(self, path: str, text: str, base: Path | None = None) -> None:
        file = (base or self.cgroups.parent) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def limit(self) -> int | None:
        return cgroup_limit(self.cgroups, self.process)

    def free(self, workers: int = 1) -> int:
        return free_memory(workers, cgroups=self.cgroups, process=self.process)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def rlimits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sets a limit of this process, as far as it is told."""
    limits: dict[int, int] = {}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits.get(which, resource.RLIM_INFINITY), -1))
    return lambda which, most: limits.update({which: most})


@pytest.fixture(autouse=True)
def _unlimited(rlimits: Callable[[int, int], None]) -> None:
    """Whatever limits the tests run under."""


def test_without_cgroups_there_is_no_limit(machine: Machine) -> None:
    assert machine.limit is None
    machine.write("self/cgroup", "0::/\n")
    assert machine.limit is None


def test_version_2_in_a_container_whose_root_is_its_own(machine: Machine) -> None:
    machine.write("self/cgroup", "0::/\n")
    machine.write("cgroup/memory.max", f"{256 * MIB}\n")
    assert machine.limit == 256 * MIB
    machine.write("cgroup/memory.max", "max\n")
    assert machine.limit is None


def test_version_2_nested_the_lowest_limit_counts(machine: Machine) -> None:
    machine.write("self/cgroup", "0::/kubepods/pod1/container\n")
    machine.write("cgroup/kubepods/pod1/container/memory.max", "max\n")
    assert machine.limit is None
    machine.write("cgroup/kubepods/memory.max", f"{900 * MIB}\n")
    machine.write("cgroup/kubepods/pod1/memory.max", f"{300 * MIB}\n")
    assert machine.limit == 300 * MIB


def test_version_1_has_a_hierarchy_of_its_own(machine: Machine) -> None:
    machine.write("self/cgroup", "9:cpu:/docker/1\n4:memory:/docker/1\n0::/docker/1\n")
    machine.write("cgroup/memory/docker/1/memory.limit_in_bytes", f"{200 * MIB}\n")
    machine.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert machine.limit == 200 * MIB


def test_version_1_in_a_container_that_sees_the_name_of_the_host(machine: Machine) -> None:
    machine.write("self/cgroup", "4:memory:/docker/1234\n")
    machine.write("cgroup/memory/memory.limit_in_bytes", f"{200 * MIB}\n")
    assert machine.limit == 200 * MIB


def test_a_worker_gets_its_share_without_what_the_processes_take(machine: Machine) -> None:
    """60 MiB are resident here; several workers have a parent."""
    machine.write("self/cgroup", "0::/\n")
    machine.write("cgroup/memory.max", f"{256 * MIB}\n")
    assert machine.free() == 196 * MIB
    assert machine.free(2) == (256 - 3 * 60) * MIB // 2
    assert machine.free(8) < 0


def test_without_a_limit_it_is_half_of_the_machine(machine: Machine) -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.free() == whole // 2 - 60 * MIB


def test_limits_of_the_process_count(machine: Machine, rlimits: Callable[[int, int], None]) -> None:
    """400 MiB are mapped here, 80 of them data."""
    machine.write("self/cgroup", "0::/\n")
    machine.write("cgroup/memory.max", f"{256 * MIB}\n")
    rlimits(resource.RLIMIT_AS, 500 * MIB)
    assert machine.free() == 100 * MIB
    rlimits(resource.RLIMIT_DATA, 120 * MIB)
    assert machine.free() == 40 * MIB


def test_a_system_that_shows_nothing_is_taken_as_empty(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert free_memory(1, cgroups=tmp_path, process=tmp_path) == whole // 2


# What becomes of the settings.


def test_what_is_configured_stays_and_limits_the_connections(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.model_validate(changed(limits__memory="12MiB", limits__connections=500))
    limits = Memory(settings.workers).within(settings).limits
    assert (limits.memory, limits.connections) == (12 * MIB, 500)
    assert not caplog.records
    limits = Memory(1).within(Settings.model_validate(changed(limits__memory="12MiB"))).limits
    assert limits.connections == (1024 - 8) * 8 // 9
    (told,) = caplog.records
    assert (told.msg, vars(told)["wanted"], vars(told)["limit"]) == ("connections_limited", 20_000, limits.connections)
    assert vars(told)["memory"] == 12 * MIB


def test_what_is_not_configured_follows_from_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def free(workers: int) -> int:
        asked.append(workers)
        return 40 * MIB

    monkeypatch.setattr(memory, "free_memory", free)
    settings = Settings.model_validate(changed(limits__connections=5, workers=3, store__url="redis://127.0.0.1/0"))
    changed_limits = settings.limits.model_copy(update={"memory": 30 * MIB})
    assert Memory(settings.workers).within(settings) == settings.model_copy(update={"limits": changed_limits})
    assert asked == [3]


def test_another_configuration_is_measured_with_the_same_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the process has taken since its start is no reason for a lower limit, and the log says once what was lowered."""
    monkeypatch.setattr(memory, "free_memory", lambda _: 40 * MIB)
    held = Memory(1)
    monkeypatch.setattr(memory, "free_memory", lambda _: 0)
    for section, most in (({}, 30), ({"limits__in_flight": 5}, 30), ({"limits__memory": "12MiB"}, 12)):
        assert held.within(Settings.model_validate(changed(**section))).limits.memory == most * MIB
    assert [vars(told)["memory"] // MIB for told in caplog.records] == [30, 12]


def test_a_connection_over_tls_costs_more() -> None:
    plain = Settings.model_validate(changed(limits__memory="64MiB"))
    secure = plain.model_copy(update={"tls": "whatever its files are"})
    assert Memory(1).within(secure).limits.connections * 10 < Memory(1).within(plain).limits.connections
